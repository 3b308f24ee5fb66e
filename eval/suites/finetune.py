"""Prompts as an adapter is trained on, from texts it has not seen: refusals, citation markers and exam questions of a model.

Run them for the base and for the adapter, and compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agents.examiner.solver import averaged, each_rotation
from core import files
from core.errors import DatasetError
from core.exam import LETTERS
from core.paths import ROOT
from core.types import Chunk, Hit, Message, wire
from eval.metrics import f1, precision, ratio, recall
from eval.suite import Bench, Case, Metric, Row, Suite
from finetune.forms import exam_options, option_lines
from finetune.metrics import cited
from rag import prompts

if TYPE_CHECKING:
    from serving.client import ChatClient

ANSWER_TOKENS = 120
_CONTEXT_CHARS = 4000  # contexts whole: cut to the tutor's 1,000, most lose the passage that answers


def own(bench: Bench) -> list[Case]:
    """The training set's test split: rows over sources, refusals, exam rows; or those of the file given for `finetune`."""
    found = []
    for _, row in files.read_jsonl(bench.data.get("finetune", ROOT / "data" / "sft" / "test.jsonl"), DatasetError):
        asked = row["messages"][:-1]
        if row["kind"] in ("grounded", "refusal"):
            gold = list(row.get("gold", ()))
            found.append(_case(row["id"], "tutor", asked, refuse=row["kind"] == "refusal", gold=gold))
        elif row["kind"] == "exam":
            found.append(_case(row["id"], "exam", asked, letter=row["answer"]))
    return bench.take(found, 60)


def mtrag(bench: Bench) -> list[Case]:
    """MTRAG-UN tasks: the last question of a conversation over given contexts; UNANSWERABLE ones are to be refused."""
    found = []
    for _, row in files.read_jsonl(bench.data["mtrag-un"], DatasetError):
        label = row["answerability"][0]
        if label not in ("ANSWERABLE", "UNANSWERABLE"):
            continue
        turns = [Message("user" if t["speaker"] == "user" else "assistant", t["text"]) for t in row["input"]]
        hits = [
            Hit(
                Chunk(str(n), c["document_id"], "", 0, len(c["text"]), c["text"], c.get("title") or "Source"),
                0.0,
                n,
                "given",
            )
            for n, c in enumerate(row["contexts"], 1)
        ]
        asked = wire(prompts.grounded(turns[-1].content, hits, turns[:-1], _CONTEXT_CHARS))
        found.append(_case(row["task_id"], label.lower(), asked, refuse=label == "UNANSWERABLE"))
    return bench.take(found, 60)


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """One prompt answered, or its letters weighed."""
    client = bench.client

    def run(case: Case) -> Row:
        messages = [Message(m["role"], m["content"]) for m in case["messages"]]
        if case["letter"]:
            return _exam(client, messages, case)
        text = client.complete(messages, max_tokens=ANSWER_TOKENS).text
        markers = cited(text)
        scores: dict[str, float | None] = {
            "refused": float(prompts.declined(text)),
            "to refuse": float(case["refuse"]),
        }
        if case["gold"]:
            scores |= {"markers": float(len(markers)), "right markers": float(sum(n in case["gold"] for n in markers))}
        expected = "a refusal" if case["refuse"] else f"an answer from {case['gold'] or 'the sources'}"
        return {"scores": scores, "shown": {"question": case["question"], "expected": expected, "answer": text}}

    return run


def _exam(client: ChatClient, messages: Sequence[Message], case: Case) -> Row:
    """The question under every rotation of its options: a model's liking for a letter would else count as knowledge, or lack."""
    before, options, after = exam_options(messages[-1].content)

    def prompt(order: Sequence[int]) -> list[Message]:
        return [*messages[:-1], Message("user", before + option_lines([options[i] for i in order]) + after)]

    turns = each_rotation(client, len(LETTERS), prompt)
    right = LETTERS.index(case["letter"])
    mean = averaged(turns)
    scores: dict[str, float | None] = {
        # One that always says the same letter likes all options alike, and knows nothing.
        "exam": float(all(mean[right] > other + 1e-6 for i, other in enumerate(mean) if i != right)),
        "exam at once": sum(turn.index(max(turn)) == right for turn in turns) / len(turns),
    }
    shown = {
        "question": case["question"],
        "expected": options[right],
        "answer": options[mean.index(max(mean))],
        "each rotation": [[round(chance, 3) for chance in turn] for turn in turns],
    }
    return {"scores": scores, "shown": shown}


def _case(
    name: str, group: str, asked: list[dict[str, Any]], *, refuse: bool = False, gold: list[int] | None = None,
    letter: str = "",
) -> Case:  # fmt: skip
    question = asked[-1]["content"][-300:]
    return {
        "id": name, "group": group, "question": question, "messages": asked, "refuse": refuse, "gold": gold or [],
        "letter": letter,
    }  # fmt: skip


def _worst(case: Case) -> dict[str, float]:
    if case["letter"]:
        return {"exam": 0.0, "exam at once": 0.0}
    return {"refused": 1.0 - case["refuse"], "to refuse": float(case["refuse"])}


_REFUSED = ("refused", "to refuse")
_REFUSALS = (
    Metric("refusal precision", _REFUSED, precision),
    Metric("refusal recall", _REFUSED, recall),
    Metric("refusal F1", _REFUSED, f1, headline=True),
)
SUITE = Suite(
    "finetune",
    "Base against adapter",
    "Prompts in the form of the training set, over notes that training did not see. Exam questions by the likeliest option "
    "over the four rotations of its options, and by the likeliest letter of one order, averaged over the four.",
    (
        *_REFUSALS,
        Metric("citation precision", ("right markers", "markers"), ratio, headline=True),
        Metric("exam accuracy", ("exam",), headline=True),
        Metric("exam accuracy, one order", ("exam at once",)),
    ),
    own,
    prepare,
    _worst,
    frozenset({"model"}),
)
MTRAG = replace(
    SUITE,
    name="mtrag-un",
    title="Refusal in conversations (MTRAG-UN)",
    about="The last turn of conversations about cloud, finance, government and encyclopedic texts, over the contexts given.",
    metrics=_REFUSALS,
    cases=mtrag,
    needs=frozenset({"model", "data"}),
)
