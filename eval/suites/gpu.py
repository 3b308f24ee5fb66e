"""Everything that has a figure on a GPU, part by part, each in a process of its own: `eval/gpu`. Without a GPU at toy size."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from core.errors import ConfigError
from core.paths import ROOT
from eval.gpu.parts import PARTS
from eval.suite import Bench, Case, Metric, Row, Suite, metric

# What each ratio should be at the least, on a GPU.
GOALS = {
    "decode ÷ bandwidth": 0.7,
    "vLLM ÷ transformers at 64": 10.0,
    "adapter ÷ merged": 0.85,
    "ours ÷ trl-defaults": 3.0,
    "ours ÷ trl-packing": 1.0,
    "MFU": 0.35,
    "FAISS, CPU ÷ GPU": 1.0,
    "prefix caching, requests/s ratio": 1.0,
}
_ESTIMATES = ("LoRA, estimated ÷ measured", "QLoRA, estimated ÷ measured")


def cases(bench: Bench) -> list[Case]:
    """One a part, less those left out (`--skip`)."""
    left_out = set(bench.options.get("skip", ()))
    if unknown := left_out - PARTS.keys():
        raise ConfigError(f"--skip {sorted(unknown)[0]}: the parts are {', '.join(PARTS)}")
    return [{"id": name, "group": name} for name in PARTS if name not in left_out]


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """Runs a part and takes its figures."""

    def run(case: Case) -> Row:
        with tempfile.TemporaryDirectory(prefix="genl-gpu-") as folder:
            path = Path(folder) / "figures.json"
            command = [
                sys.executable,
                "-m",
                "eval.gpu",
                str(case["id"]),
                str(path),
                *(["--toy"] if bench.quick else []),
            ]
            ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if not path.exists():
                raise ConfigError(f"{case['id']}: {' '.join(ran.stderr.split())[-500:]}")
            told = json.loads(path.read_text(encoding="utf-8"))
        size = "toy size: says nothing of a GPU" if told["toy"] else "full size"
        shown = {"question": f"{case['id']} ({size})", "figures": told["figures"], "goals": GOALS}
        return {"scores": told["figures"], "shown": shown}

    return run


def _metrics() -> tuple[Metric, ...]:
    return (*(metric(name, headline=True) for name in GOALS), *(metric(name, better="neither") for name in _ESTIMATES))


SUITE = Suite(
    "gpu",
    "On this device",
    "Ratios to ceilings and peers measured in the same run, means over the parts that have them; the cases hold every figure. "
    "Goals on a GPU: " + ", ".join(f"{name} ≥ {goal:g}" for name, goal in GOALS.items()) + "; estimates within 10 %.",
    _metrics(),
    cases,
    prepare,
    lambda _: {},
    frozenset(),
    repeats=True,
)
