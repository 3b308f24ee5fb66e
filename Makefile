# `make chat` runs the tutor, `make test` the checks. Both set up .venv from the lock file first, once.
.PHONY: chat test test-gpu lint lock clean setup
PYTHON ?= python3
SETUP := .venv/.ready

chat: $(SETUP)
	@.venv/bin/python -m app $(ARGS)

test: $(SETUP)
	@.venv/bin/python -m tests

setup: $(SETUP)

$(SETUP): setup.sh locks/cpu.txt locks/gpu.txt
	@PYTHON="$(PYTHON)" sh setup.sh

test-gpu: $(SETUP)
	@.venv/bin/python -m eval run gpu --out reports/gpu

lint: $(SETUP)
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports

# Resolves pyproject.toml into locks/ again (needs uv). setup.sh installs torch's CPU build by itself.
lock:
	uv pip compile -q --python-version 3.11 --universal --group cpu --group scale --group dev pyproject.toml -o locks/cpu.txt \
	  --override locks/cpu-overrides.txt --no-annotate --generate-hashes --custom-compile-command "make lock"
	uv pip compile -q --python-version 3.11 --universal --group gpu --group scale --group dev pyproject.toml -o locks/gpu.txt \
	  --no-annotate --generate-hashes --custom-compile-command "make lock"

clean:
	rm -rf .venv var
