"""Multiple choice: our bank, or any in its format, alone and with retrieved notes, by log-probability and by the letter written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

from agents.bank import OPTION_LETTERS, Question
from agents.examiner.solver import right, rotated
from core.exam import LETTERS
from core.paths import ROOT
from core.types import Message
from eval.metrics import ece
from eval.suite import Bench, Case, Metric, Row, Suite, metric
from eval.suites import bank
from finetune.forms import EXAM, exam_prompt, source_blocks

SOURCES = 3


def cases(bench: Bench) -> list[Case]:
    """Single-answer questions of four options, by domain."""
    path = bench.data.get("exam", ROOT / "data" / "questions")
    found = [
        {
            "id": q.id,
            "group": bank.domain_of(q),
            "question": q.question,
            "options": list(q.options),
            "correct": q.correct[0],
        }
        for q in bank.load(path)
        if len(q.correct) == 1 and len(q.options) == len(LETTERS)
    ]
    return bench.take(found, 40)


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """One question: closed book and open book by choice log-probabilities over rotated options, and a letter written."""
    client, retriever = bench.client, bench.retriever
    rotations = bench.options.get("rotations")

    def run(case: Case) -> Row:
        question = bank.as_question(case)
        chunks = [hit.chunk for hit in retriever.search(case["question"], k=SOURCES).hits]
        notes = f"{source_blocks(chunks)}\n\n"
        closed, opened = (
            rotated(client, len(LETTERS), partial(_prompt, question, given), rotations) for given in ("", notes)
        )
        said = client.complete(_prompt(question, notes, range(len(LETTERS))), max_tokens=8).text
        letter = re.match(r"\W*([A-D])\b", said)
        scores: dict[str, float | None] = {
            "closed book": float(right(question, closed)),
            "open book": float(right(question, opened)),
            # A reply without a letter is wrong.
            "letter written": float(letter is not None and LETTERS.index(letter[1]) == case["correct"]),
            "closed confidence": max(closed),
            "open confidence": max(opened),
            "notes' gain": float(right(question, opened)) - float(right(question, closed)),
        }
        shown = {
            "question": case["question"],
            "expected": f"{OPTION_LETTERS[case['correct']]}) {case['options'][case['correct']]}",
            "answer": said,
            "options": case["options"],
            "closed book": [round(c, 3) for c in closed],
            "open book": [round(c, 3) for c in opened],
            "retrieved": [{"doc_id": c.doc_id, "text": c.text[:300]} for c in chunks],
        }
        return {"scores": scores, "shown": shown}

    return run


def _prompt(question: Question, notes: str, order: Sequence[int]) -> list[Message]:
    """The tutor's own exam prompt, the one it is trained on."""
    options = [question.options[i] for i in order]
    return [Message("system", EXAM), Message("user", notes + exam_prompt(question.question, options))]


SUITE = Suite(
    "exam",
    "Exam questions",
    "Single-answer questions without notes (closed book) and with three retrieved passages (open book), by the likeliest "
    "option over rotations; `letter written`: the first letter of a written reply, with the passages.",
    (
        metric("closed book", headline=True),
        metric("open book", headline=True),
        metric("notes' gain"),
        metric("letter written"),
        Metric("calibration error, closed book", ("closed confidence", "closed book"), ece, better="lower"),
        Metric("calibration error, open book", ("open confidence", "open book"), ece, better="lower"),
    ),
    cases,
    prepare,
    lambda _: {
        "closed book": 0.0, "open book": 0.0, "letter written": 0.0, "closed confidence": 1.0, "open confidence": 1.0,
        "notes' gain": 0.0,
    },
    takes=frozenset({"rotations"}),
)  # fmt: skip
