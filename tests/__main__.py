"""`python -m tests`: style, types, arrows, then every test. What was skipped, and how to get it, is said last."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
CHECKS = (
    [str(BIN / "ruff"), "check", "."],
    [str(BIN / "ruff"), "format", "--check", "."],
    [str(BIN / "mypy")],
    [str(BIN / "lint-imports")],
    # Two at once: what drives the model server waits much (tests/conftest.py keeps it together).
    [sys.executable, "-m", "pytest", "-q", "--durations=8", "-n", "2", *sys.argv[1:]],
)


def main() -> int:
    """Runs every check, also after one failed; the worst exit status."""
    failed = []
    for command in CHECKS:
        print(f"\n$ {Path(command[0]).name} {' '.join(command[1:])}", flush=True)
        if subprocess.call(command, cwd=Path(__file__).resolve().parent.parent):
            failed.append(" ".join(command[:3]))
    for name in failed:
        print(f"FAILED: {name}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
