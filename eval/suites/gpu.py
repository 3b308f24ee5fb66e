"""Everything that has a figure on a GPU, part by part, each in a process of its own: `eval/gpu`. Without a GPU at toy size."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from eval import programs
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
    return [{"id": name, "group": name} for name in programs.wanted(bench, PARTS, "parts")]


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """Runs a part and takes its figures."""

    def run(case: Case) -> Row:
        with tempfile.TemporaryDirectory(prefix="genl-gpu-") as folder:
            path = Path(folder) / "figures.json"
            toy = ["--toy"] if bench.quick else []
            told = json.loads(programs.run(case["id"], ["eval.gpu", case["id"], str(path), *toy], path))
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
