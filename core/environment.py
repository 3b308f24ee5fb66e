"""The project's own Python: `python -m ROOM` goes on in `.venv`, made if need be, where this one lacks the libraries."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from core.errors import ConfigError
from core.paths import ROOT

_NEEDED = ("pydantic", "transformers", "peft", "vllm")


def ensure() -> None:
    """Returns where the libraries are there; else does not return: the same command goes on in `.venv`.

    Raises ConfigError where `.venv` cannot be made.
    """
    lacking = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if not lacking or {"-h", "--help"} & set(sys.argv[1:]) or os.environ.get("GENL_NO_SETUP"):
        return
    python = ROOT / ".venv" / "bin" / "python"
    if sys.prefix == str(ROOT / ".venv"):
        raise ConfigError(f".venv lacks {', '.join(lacking)}. Make it anew: make clean setup")
    print(f"this Python lacks {', '.join(lacking)}: going on in .venv", file=sys.stderr, flush=True)
    made = subprocess.run(["make", "-C", str(ROOT), "-s", "setup", f"PYTHON={sys.executable}"], stdout=sys.stderr)
    if made.returncode or not python.exists():
        raise ConfigError("the environment could not be made (see above). Try again: make setup")
    os.execv(python, [str(python), *sys.orig_argv[1:]])
