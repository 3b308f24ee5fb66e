"""The judge on claims whose support is known: data/eval/claims.jsonl, a passage with one claim it holds and one it does not.

`agreement (κ)` with those labels says how far the judge's figures elsewhere are to be trusted.
"""

from __future__ import annotations

from collections.abc import Callable

from agents.verifier import Claim
from core import files
from core.paths import ROOT
from eval import judge
from eval.metrics import auc, kappa, precision, recall
from eval.suite import Bench, Case, Metric, Row, Suite, checked

_LABELS = ("taken as supported", "supported")


def cases(bench: Bench) -> list[Case]:
    """The committed claims, or those of the file given for `claims`."""
    path = bench.data.get("claims", ROOT / "data" / "eval" / "claims.jsonl")
    found = []
    for number, row in files.read_jsonl(path):
        checked(row, f"{path}:{number}", id=str, kind=str, claim=str, quote=str, note=str, supported=bool)
        found.append({**row, "group": row["kind"]})
    return bench.take(found, 40)


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """One claim judged."""

    def run(case: Case) -> Row:
        value = judge.supports(bench.judge, Claim(case["claim"], case["quote"], case["note"]))
        taken = float(value >= judge.THRESHOLD)
        return {
            "scores": {"taken as supported": taken, "supported": float(case["supported"]), "support": value},
            "shown": {
                "question": case["claim"], "expected": "supported" if case["supported"] else "not supported",
                "answer": f"{value:.2f}", "retrieved": [{"doc_id": case["note"], "text": case["quote"]}],
            },
        }  # fmt: skip

    return run


SUITE = Suite(
    "claims",
    "The judge against human labels",
    f"Claims beside passages. A judge below κ {judge.TRUSTED} is not trusted, and none of its figures is a headline.",
    (
        Metric("agreement (κ)", _LABELS, kappa, headline=True),
        Metric("AUC", ("supported", "support"), auc),
        Metric("precision of support", _LABELS, precision),
        Metric("recall of support", _LABELS, recall),
    ),
    cases,
    prepare,
    lambda case: {
        "taken as supported": 1.0 - case["supported"], "supported": float(case["supported"]), "support": 1.0 - case["supported"],
    },
    frozenset({"judge"}),
)  # fmt: skip
