"""A small Python experiment in a sandbox made by bubblewrap. Off by default (`run_python: true` turns it on).

Protected against: reading or writing files outside a scratch folder (Python's own installation is readable), any
network, other processes of this machine, more than CPU_SECONDS of CPU, WALL_SECONDS of time, MEMORY_BYTES of memory a
process, files beyond FILE_BYTES; the scratch folder is deleted afterwards and no environment variable is passed on.
Not protected against: flaws of the Linux kernel, many processes that together take more memory than one may, timing
side channels. Do not turn it on where strangers may ask.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from agents.errors import ToolError

CPU_SECONDS, WALL_SECONDS = 10, 20
MEMORY_BYTES, FILE_BYTES = 1 << 30, 16 << 20
_PROCESSES = 64
_SHOWN = 2000


def run_python(code: str) -> str:
    """What the program printed; ToolError with its last line where it failed, ran too long, or no sandbox can be made."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise ToolError("run_python needs bubblewrap on this machine: apt install bubblewrap")
    with tempfile.TemporaryDirectory(prefix="genl-python-") as scratch:
        (Path(scratch) / "program.py").write_text(code, encoding="utf-8")
        try:
            ran = subprocess.run(
                _command(bwrap, Path(scratch)),
                capture_output=True, text=True, errors="replace", timeout=WALL_SECONDS, preexec_fn=_limit, env={},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ToolError(f"the program ran longer than {WALL_SECONDS} s") from None
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1]
        raise ToolError(f"the program failed: {last[:300]}")
    shown = ran.stdout.strip() or "(it printed nothing)"
    return f"The program printed:\n{shown[:_SHOWN]}{' …' if len(shown) > _SHOWN else ''}"


def _command(bwrap: str, scratch: Path) -> list[str]:
    readable = ["/usr", "/lib", "/lib64", "/bin", sys.base_prefix, sys.prefix]
    binds = [
        part for folder in dict.fromkeys(readable) if Path(folder).exists() for part in ("--ro-bind", folder, folder)
    ]
    return [
        bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--tmpfs", "/tmp", *binds, "--proc", "/proc",
        "--dev", "/dev", "--bind", str(scratch), "/scratch", "--chdir", "/scratch",
        "--setenv", "OPENBLAS_NUM_THREADS", "1", sys.executable, "-I", "-B", "/scratch/program.py",
    ]  # fmt: skip


def _limit() -> None:
    for what, most in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NPROC, _PROCESSES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
