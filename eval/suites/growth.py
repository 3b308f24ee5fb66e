"""How each kind of index grows, to a million chunks: `eval/growth.py`, one process a kind and size."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from eval import programs
from eval.growth import KINDS
from eval.suite import Bench, Case, Row, Suite, metric

SIZES, QUICK = (10_000, 100_000, 1_000_000), (2_000, 10_000)


def cases(bench: Bench) -> list[Case]:
    """Every kind at every size, less the kinds left out (`--skip`)."""
    sizes = QUICK if bench.quick else SIZES
    return [
        {"id": f"{kind}-{size}", "group": kind, "kind": kind, "size": size}
        for kind in programs.wanted(bench, KINDS, "kinds")
        for size in sizes
    ]


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """Measures one kind at one size."""

    def run(case: Case) -> Row:
        with tempfile.TemporaryDirectory(prefix="genl-growth-") as folder:
            path = Path(folder) / "figures.json"
            arguments = ["eval.growth", case["kind"], str(case["size"]), str(path)]
            figures = json.loads(programs.run(case["id"], arguments, path))
        shown = {"question": f"{case['kind']}, {case['size']:,} chunks", "kind": case["kind"], "chunks": case["size"]}
        return {"scores": figures, "shown": shown | {"figures": figures, "goals": {}}}

    return run


SUITE = Suite(
    "growth",
    "Growth of an index",
    "Synthetic vectors of 384 dimensions around 4,096 centres, synthetic text for BM25; means over the sizes, the cases hold each.",
    (
        metric("build, s", better="lower", unit="s"),
        metric("search p95, ms", better="lower", unit="ms", headline=True),
        metric("recall@10", headline=True),
    ),
    cases,
    prepare,
    lambda _: {},
    frozenset(),
    repeats=True,
)
