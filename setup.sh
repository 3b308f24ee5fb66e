#!/bin/sh
# Makes .venv from the lock file that fits this machine. Built beside and renamed, so a killed run leaves nothing half-made.
set -eu
python=${PYTHON:-python3}
say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 2; }

command -v "$python" >/dev/null || fail "$python not found. Install Python 3.11 or later, or run: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than 3.11. Run: make PYTHON=/path/to/python3.11"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "$python lacks venv. On Debian or Ubuntu: apt-get install python3-venv"
free_mib=$(df -Pm . | awk 'NR == 2 { print $4 }')
if nvidia-smi >/dev/null 2>&1; then kind=gpu; need_mib=14000; else kind=cpu; need_mib=4500; fi
[ "$free_mib" -ge "$need_mib" ] || fail "$free_mib MiB free here, the $kind environment needs $need_mib. Free some disk"

# A virtual environment names its own path in its scripts, so it is made in place, and .ready marks it whole.
rm -f .venv/.ready
want=$(cat "locks/$kind.txt" setup.sh | cksum)
if [ "$(cat .venv/.lock 2>/dev/null)" != "$want" ]; then
  "$python" -m venv --clear .venv
  printf '%s' "$want" > .venv/.lock
fi
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
no_index="the package index could not be reached, or lacks a pinned package (see above). Check the network and run again: what is installed stays"
if [ "$kind" = cpu ]; then
  say "1/2 torch, CPU build"
  version=$(sed -n 's/.*"torch==\([0-9.]*\)".*/\1/p' pyproject.toml)
  # The CPU build is an eighth of the CUDA one. pip finds it where an index or folder of its configuration holds it;
  # uv knows PyTorch's own CPU index; failing both, the package index's build also runs on a CPU.
  pip install -q "torch==$version+cpu" 2>/dev/null \
    || { pip install -q uv && VIRTUAL_ENV="$PWD/.venv" .venv/bin/uv pip install -q --torch-backend cpu "torch==$version" 2>/dev/null; } \
    || { say "    no CPU-only build to be had: taking the full one"; pip install "torch==$version"; } \
    || fail "$no_index"
fi
say "2/2 locks/$kind.txt"
# --no-deps: the lock names every package, and leaves out on purpose what would break (locks/cpu-overrides.txt).
pip install -q --no-deps --progress-bar on -r "locks/$kind.txt" || fail "$no_index"
touch .venv/.ready
