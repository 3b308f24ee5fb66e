"""Fine-tuning speed against TRL with its defaults and at its best: `finetune.benchmark` on random weights of a shape."""

from __future__ import annotations

import re
import subprocess
import sys

from core.errors import TrainingError
from core.paths import ROOT
from eval.gpu import ceilings

_LINE = re.compile(
    r"^(\S+) +([\d.]+) supervised tokens/s +ours ÷ this +([\d.]+) +MFU ([\d.]+)% +peak ([\d.]+) GiB", re.MULTILINE
)


def measure(toy: bool, shape: str, bits: str = "") -> dict[str, float]:
    """Supervised tokens/s, ratios, MFU (4N FLOPs a token) of the data sheet's and of the measured ceiling, peak GiB."""
    command = [
        sys.executable, "-m", "finetune.benchmark", "--random", "toy" if toy else shape, "--rounds", "1", "--samples",
        "8" if toy else "128", "--max-length", "256" if toy else "2048", *(["--four-bit"] if bits else []),
    ]  # fmt: skip
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    rows = _LINE.findall(ran.stdout)
    if ran.returncode or not rows:
        raise TrainingError(f"finetune.benchmark failed: {' '.join((ran.stderr or ran.stdout).split())[-400:]}")
    found: dict[str, float] = {}
    for name, rate, ratio, mfu, peak in rows:
        found[f"{name}, tokens/s"], found[f"{name}, peak GiB"] = float(rate), float(peak)
        if name == "ours":
            found["MFU"] = float(mfu) / 100
        else:
            found[f"ours ÷ {name}"] = float(ratio)
    found["matrix product, TFLOP/s"] = ceilings.product_flops(toy) / 1e12
    return found
