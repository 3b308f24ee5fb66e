"""What the device can do at the most: a large matrix product, and a large copy within its memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_SECONDS = 1.0


def measure(toy: bool) -> dict[str, float]:
    """TFLOP/s of a bfloat16 product (float32 on a CPU) and GB/s of a copy, reading and writing counted."""
    return {"matrix product, TFLOP/s": product_flops(toy) / 1e12, "copy, GB/s": copy_bytes(toy) / 1e9}


def product_flops(toy: bool) -> float:
    """FLOP/s of square products of 8192 (toy: 1024) a side."""
    import torch

    side, device = (1024 if toy else 8192), _device()
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 * _rate(lambda: a @ b)


def copy_bytes(toy: bool) -> float:
    """Bytes a second read and written by copies of 2 GiB (toy: 64 MiB)."""
    import torch

    size = 2**26 if toy else 2**31
    source = torch.empty(size, dtype=torch.uint8, device=_device())
    target = torch.empty_like(source)
    return 2 * size * _rate(lambda: target.copy_(source))


def _rate(work: Callable[[], Any]) -> float:
    """How often a second the work can be done."""
    import torch

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    for _ in range(3):
        work()
    wait()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        for _ in range(5):
            work()
        wait()
        done += 5
    return done / (time.perf_counter() - started)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
