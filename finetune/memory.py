"""Peak memory of this process, and of each stretch of a run: resident bytes on a CPU, allocated bytes on a GPU."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_highest = 0


def peak() -> int:
    """Peak bytes since the process began."""
    return max(_highest, _now())


def lap() -> int:
    """Peak bytes since the last lap; since the process began where the system cannot start the count anew."""
    import torch

    global _highest
    found = _now()
    _highest = max(_highest, found)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif _RESET.exists():
        with suppress(OSError):
            _RESET.write_text("5")  # proc(5): sets VmHWM to what is resident now
    return found


def trim() -> None:
    """Gives freed blocks that glibc's heap holds back to the system; nothing elsewhere."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _now() -> int:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if _STATUS.exists():  # ru_maxrss would count what the parent held when it started this process
        high = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(high.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
