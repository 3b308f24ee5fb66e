"""Memory of this process: its peak, that of each stretch of a run (resident bytes on a CPU, allocated on a GPU), its bounds."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_MMAP_THRESHOLD = -3  # mallopt(3)
_LARGE = 8 * 2**20  # bytes; a block as large is given back when freed. With 1 MiB steps took 1.7 times as long.
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


def bound() -> None:
    """Before torch is imported: what would otherwise grow with each step on a CPU is kept small.

    oneDNN, which multiplies bfloat16 there, keeps code for every shape it has met: with rows of ever new lengths, 50 MiB a
    step. And glibc's heap, which learns to hold large blocks too, is left with holes that none of the next ones fits.
    """
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # oneDNN's own, and torch's before it
        os.environ.setdefault(cache, "32")
    with _glibc() as libc:
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)


def trim() -> None:
    """Gives freed blocks that glibc's heap holds back to the system; nothing elsewhere."""
    with _glibc() as libc:
        libc.malloc_trim(0)


@contextmanager
def _glibc() -> Iterator[ctypes.CDLL]:
    with suppress(OSError, AttributeError):
        yield ctypes.CDLL("libc.so.6")


def _now() -> int:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if _STATUS.exists():  # ru_maxrss would count what the parent held when it started this process
        high = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(high.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
