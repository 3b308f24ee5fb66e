"""The quality of a bank of questions: what its shape gives away, where its keys stand in the notes, what a solver makes of it.

Banks in our format (`data/questions/*.jsonl`) are measured whole. Others need `text` or `question`, `options` and
`correct` (an index or a list of them); what rests on sources and domains is then left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from agents.bank import OPTION_LETTERS, Question, Source, passage, question, valid
from agents.examiner.cues import cues, key_is_longest
from agents.examiner.gates import NEAR, text_of
from agents.examiner.solver import Mode, chance, probabilities, right
from core import files
from core.errors import DocumentError
from core.exam import DOMAINS, LETTERS
from core.paths import CORPUS, ROOT
from eval.metrics import Values, uniform_p
from eval.suite import Bench, Case, Metric, Row, Suite, metric
from rag.building import open_embedder
from rag.config import IndexSettings
from rag.documents import load_sources

# By the plan of who wrote a question: its difficulty and its Bloom level.
_MEANT = ("easy", "medium", "hard", "remember", "understand", "apply", "analyse", "evaluate")
MODES: tuple[Mode, ...] = ("open book", "closed book", "options only")


def load(path: Path) -> list[Question]:
    """The questions of a file, or of all .jsonl files of a folder. DocumentError names the row that is none."""
    paths = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    found = [_question(row, f"{p}:{number}") for p in paths for number, row in files.read_jsonl(p)]
    if not found:
        raise DocumentError(f"{path}: no questions in it")
    return found


def as_question(case: Case) -> Question:
    """A multiple-choice case as a question to be solved."""
    given = case["correct"]
    correct = tuple(given) if isinstance(given, list | tuple) else (int(given),)
    return Question(
        str(case["id"]), 0, "", "", "", str(case["question"]), tuple(case["options"]), correct, "", (), Source("", 0, 0, ""), {}
    )  # fmt: skip


def questions(bench: Bench) -> list[Case]:
    """Every question of the bank; all of them in the quick form too: nothing here is slow."""
    found = load(bench.data.get("bank", ROOT / "data" / "questions"))
    return [
        {"id": q.id, "group": domain_of(q), "question": q.question, "_question": q, "row": asdict(q)} for q in found
    ]


def sat(bench: Bench) -> list[Case]:
    """The same, so many as a model is to sit."""
    return bench.take(questions(bench), 20)


def prepare_shape(bench: Bench) -> Callable[[Case], Row]:
    """What can be said of a question without a model; its likeness to the others is worked out at once for all."""
    asked = [case["_question"] for case in questions(bench)]
    nearest = _nearest(asked)
    documents = {d.doc_id: d for d in load_sources([CORPUS])}

    def run(case: Case) -> Row:
        q: Question = case["_question"]
        single, found = len(q.correct) == 1, cues(q)
        near, cosine = nearest[q.id]
        sourced = bool(q.source.doc_id)
        valid_span = sourced and q.source.doc_id in documents and valid(q.source, documents[q.source.doc_id])
        return {
            "scores": {
                "longest": key_is_longest(q) if single else None,
                "place": float(q.correct[0]) if single and len(q.options) == len(LETTERS) else None,
                "cue": float(bool(found)),
                "span": float(valid_span) if sourced else None,
                "near-duplicate": float(cosine > NEAR),
                "domain": float(q.domain) if q.domain else None,
            },
            "shown": {
                "question": q.question, "options": list(q.options), "expected": q.letters, "cues": found,
                "nearest": f"{near} ({cosine:.2f})",
            },
        }  # fmt: skip

    return run


def prepare_solved(bench: Bench) -> Callable[[Case], Row]:
    """The question sat with its passage, without it, and with nothing but the options."""
    documents = {d.doc_id: d for d in load_sources([CORPUS])}
    rotations = bench.options.get("rotations")

    def run(case: Case) -> Row:
        q: Question = case["_question"]
        scores: dict[str, float | None] = {"chance": chance(q)}
        shown: dict[str, Any] = {"question": q.question, "options": list(q.options), "expected": q.letters}
        for mode in MODES:
            if mode == "open book" and q.source.doc_id not in documents:
                scores[mode] = None
                continue
            text = passage(q.source, documents[q.source.doc_id]) if mode == "open book" else ""
            chances = probabilities(bench.client, q, mode, text, rotations)
            scores[mode] = float(right(q, chances))
            shown[mode] = [round(c, 3) for c in chances]
        if scores["open book"] is not None:
            scores["gap"] = float(scores["open book"]) - float(scores["closed book"] or 0)
        scores |= _as_meant(q, float(scores["closed book"] or 0))
        scores["over chance"] = float(scores["options only"] or 0) - chance(q)
        return {"scores": scores, "shown": shown}

    return run


def _as_meant(q: Question, closed_book: float) -> dict[str, float]:
    """The closed-book score by how hard the question was meant to be, to hold that against how hard it is."""
    return {f"closed book, {meant}": closed_book for meant in (q.difficulty, q.bloom) if meant}


def _failed(case: Case) -> dict[str, float]:
    as_meant = _as_meant(case["_question"], 0.0)
    return {"open book": 0.0, "closed book": 0.0, "options only": 1.0, "over chance": 0.75, "gap": 0.0} | as_meant


def weight_error(values: Values) -> Values:
    """The L1 distance between the shares of the domains (1 to 5, first column) and the exam's weights."""
    held = ~np.isnan(values[..., 0])
    count = np.maximum(held.sum(axis=-1), 1)
    total = np.zeros(values.shape[:-2])
    for domain in DOMAINS:
        total += np.abs(((values[..., 0] == domain.number) & held).sum(axis=-1) / count - domain.weight / 100)
    return np.where(held.any(axis=-1), total, 0.0)


def _nearest(asked: Sequence[Question]) -> dict[str, tuple[str, float]]:
    """For each question the one most like it, and the cosine between stem and key of both."""
    embedder = open_embedder(IndexSettings())
    vectors = embedder.encode([text_of(q) for q in asked], tokens=False)[0]
    found = {}
    for n, q in enumerate(asked):
        likeness = vectors @ vectors[n]
        likeness[n] = -1.0
        best = int(likeness.argmax())
        found[q.id] = (asked[best].id, float(likeness[best])) if len(asked) > 1 else ("", 0.0)
    return found


def domain_of(q: Question) -> str:
    """The name of its domain, or `all`."""
    return DOMAINS[q.domain - 1].name if q.domain else "all"


def _question(row: Mapping[str, Any], where: str) -> Question:
    try:
        if "source" in row:
            return question(row)
        options, given = tuple(map(str, row["options"])), row["correct"]
        correct = tuple(given) if isinstance(given, list) else (int(given),)
        if not correct or not all(isinstance(i, int) and 0 <= i < len(options) <= len(OPTION_LETTERS) for i in correct):
            raise ValueError(f"up to {len(OPTION_LETTERS)} options, and the right ones among them")
        domain = int(row.get("domain", 0))  # 0: of none
        if not 0 <= domain <= len(DOMAINS):
            raise ValueError(f"a domain from 1 to {len(DOMAINS)}")
        return Question(
            str(row.get("id", row.get("_id", where))), domain, "", "", "", str(row.get("question", row.get("text", ""))),
            options, correct, str(row.get("explanation", "")), (), Source("", 0, 0, ""), {},
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DocumentError(f"{where}: not a question ({type(error).__name__}: {error})") from None


SHAPE = Suite(
    "bank",
    "Question bank",
    "What a bank gives away without study: the key's length and letter, cues, copies; whether its sources say what they "
    "quote; how far its domains are from the exam's weights.",
    (
        Metric("key is the longest option", ("longest",), better="lower", headline=True),
        Metric("key letters, χ² p", ("place",), uniform_p, better="neither", headline=True, interval=False),
        Metric("questions with a cue", ("cue",), better="lower", headline=True),
        Metric("source spans valid", ("span",), headline=True),
        Metric("near-duplicates", ("near-duplicate",), better="lower", headline=True),
        Metric("weight error (L1)", ("domain",), weight_error, better="lower", interval=False),
    ),
    questions, prepare_shape, lambda _: {"cue": 1.0, "near-duplicate": 1.0, "span": 0.0}, frozenset(), repeats=True,
)  # fmt: skip
SOLVED = Suite(
    "bank-solved",
    "Question bank, sat by a model",
    "With the passage (open book), without it (closed book), and with the options alone, averaged over rotations.",
    (
        metric("open book", headline=True),
        metric("closed book", better="neither"),
        Metric("open book minus closed book", ("gap",), headline=True),
        metric("options only", better="lower"),
        Metric("options only, over chance", ("over chance",), better="lower", headline=True),
        *(metric(f"closed book, {meant}", better="neither") for meant in _MEANT),
    ),
    sat, prepare_solved, _failed,
    frozenset({"model"}),
    takes=frozenset({"rotations"}),
)  # fmt: skip
