"""Prompts as an adapter is trained on, from notes it has not seen: refusals, citation markers and exam questions of a model.

Run it for the base and for the adapter, and compare. MTRAG-UN tasks are taken in where their file is given.
"""

from __future__ import annotations

from collections.abc import Callable

from core.exam import LETTERS
from core.paths import ROOT
from core.types import Message, wire
from eval.metrics import f1, precision, ratio, recall
from eval.suite import Bench, Case, Metric, Row, Suite
from finetune import evaluation
from finetune.evaluation import ANSWER_TOKENS
from finetune.metrics import cited
from rag.prompts import declined


def cases(bench: Bench) -> list[Case]:
    """The training set's test split, and the files given for `mtrag-un` and `questions`."""
    found = evaluation.own_cases(bench.data.get("finetune", ROOT / "data" / "sft" / "test.jsonl"))
    if "mtrag-un" in bench.data:
        found += evaluation.mtrag_cases(bench.data["mtrag-un"])
    if "questions" in bench.data:
        found += evaluation.exam_cases(bench.data["questions"], None, 40 if bench.quick else bench.limit)
    rows = [
        {
            "id": f"{case.suite} {case.id}", "group": case.suite, "question": case.messages[-1].content[-300:],
            "messages": wire(case.messages), "refuse": case.refuse, "gold": list(case.gold), "letter": case.letter,
        }
        for case in found
    ]  # fmt: skip
    return bench.take(rows, 60)


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """One prompt answered, or its letters weighed."""
    client = bench.client

    def run(case: Case) -> Row:
        messages = [Message(m["role"], m["content"]) for m in case["messages"]]
        if case["letter"]:
            best = client.choose(messages, LETTERS).best
            shown = {"question": case["question"], "expected": case["letter"], "answer": best}
            return {"scores": {"exam": float(best == case["letter"])}, "shown": shown}
        text = client.complete(messages, max_tokens=ANSWER_TOKENS).text
        markers = cited(text)
        scores: dict[str, float | None] = {"refused": float(declined(text)), "to refuse": float(case["refuse"])}
        if case["gold"]:
            scores |= {"markers": float(len(markers)), "right markers": float(sum(n in case["gold"] for n in markers))}
        expected = "a refusal" if case["refuse"] else f"an answer from {case['gold'] or 'the sources'}"
        return {"scores": scores, "shown": {"question": case["question"], "expected": expected, "answer": text}}

    return run


def _worst(case: Case) -> dict[str, float]:
    if case["letter"]:
        return {"exam": 0.0}
    return {"refused": 1.0 - case["refuse"], "to refuse": float(case["refuse"])}


_REFUSED = ("refused", "to refuse")
SUITE = Suite(
    "finetune",
    "Base against adapter",
    "Prompts in the form of the training set, over notes that training did not see.",
    (
        Metric("refusal precision", _REFUSED, precision),
        Metric("refusal recall", _REFUSED, recall),
        Metric("refusal F1", _REFUSED, f1, headline=True),
        Metric("citation precision", ("right markers", "markers"), ratio, headline=True),
        Metric("exam accuracy", ("exam",), headline=True),
    ),
    cases,
    prepare,
    _worst,
    frozenset({"model"}),
)
