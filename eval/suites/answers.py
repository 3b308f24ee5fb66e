"""Grounded answers, their citations, and refusals: retrieval and writing as the tutor does them, over the golden questions.

Citation recall and precision are ALCE's (Gao et al. 2023), by a judge where one is asked for (`--judge`); what needs no
judge comes first. Own data: rows `{_id, text, contexts, messages, answerable}` as `rag ask` reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.verifier import Claim, heading
from core import files
from core.errors import DocumentError
from core.types import Answer, Document
from eval import golden, judge
from eval.metrics import f1, false_alarms, precision, ratio, recall
from eval.suite import Bench, Case, Metric, Row, Suite, metric
from rag.answering import Answerer
from rag.asking import Question, answer_one, question_of, to_row
from rag.citations import says

_REFUSED = ("refused", "unanswerable")


def answerable(bench: Bench) -> list[Case]:
    """The golden questions with an answer in the notes; or those of the file given for `answers`."""
    return _own(bench, "answers") or golden.questions(bench, answerable=True)


def both(bench: Bench) -> list[Case]:
    """All golden questions; or those of the file given for `refusal`."""
    return _own(bench, "refusal") or golden.questions(bench)


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """One question answered, and its answer held against what is known of it."""
    retriever = bench.retriever
    answerer = Answerer(retriever, bench.client)
    judging = bool(bench.options.get("judge"))

    def run(case: Case) -> Row:
        asked = (
            question_of(dict(case["row"]), str(case["id"])) if "row" in case else Question(case["id"], case["question"])
        )
        answer = answer_one(answerer, asked)
        held = {**retriever.documents(), **{d.doc_id: d for d in asked.contexts}}
        scores = _scores(case, answer, held)
        told = to_row(str(case["id"]), answer)
        shown: dict[str, Any] = {
            "question": asked.text,
            "expected": case.get("answer", ""),
            "answer": answer.text,
            "refused": answer.refused,
            "reason": answer.reason,
            "citations": told["citations"],
            "retrieved": [
                {"doc_id": s["doc_id"], "score": s["score"], "text": s["text"][:300]} for s in told["sources"]
            ],
        }
        if judging:
            verdicts = _judged(bench, answer)
            scores |= {
                "judged": float(len(verdicts)),
                "supported": float(sum(v["supports"] >= judge.THRESHOLD for v in verdicts)),
                "contradicted": float(sum(v["contradicts"] >= judge.THRESHOLD for v in verdicts)),
            }
            shown["judge"] = verdicts
        return {"scores": scores, "shown": shown, "usage": told["usage"]}

    return run


def _scores(case: Case, answer: Answer, documents: dict[str, Document]) -> dict[str, float | None]:
    wanted = case["kind"] == "answerable"
    factual = [s for s in answer.sentences if s.factual]
    found: dict[str, float | None] = {
        "refused": float(answer.refused),
        "unanswerable": float(not wanted),
        "cited": float(len(answer.citations)),
        "valid": float(sum(_valid(documents, c.doc_id, c.start, c.end, c.quote) for c in answer.citations)),
        "factual": float(len(factual)),
        "covered": float(sum(s.supported for s in factual)),
        "answered": float(not answer.refused) if wanted else None,
    }
    if wanted and case.get("facts"):
        text = answer.text.casefold()
        found["correct"] = float(
            not answer.refused and all(any(f.casefold() in text for f in group) for group in case["facts"])
        )
    if wanted and case.get("spans"):
        spans = golden.located(case, documents)
        hits = [any(golden.overlap(s, c.doc_id, c.start, c.end) for c in answer.citations) for s in spans]
        found["gold span cited"] = sum(hits) / len(hits)
        found["gold note"] = float(sum(c.doc_id in {s[0] for s in spans} for c in answer.citations))
    return found


def _valid(documents: dict[str, Document], doc_id: str, start: int, end: int, quote: str) -> bool:
    return doc_id in documents and says(documents[doc_id], start, end, quote)


def _judged(bench: Bench, answer: Answer) -> list[dict[str, Any]]:
    """Each cited sentence beside its span."""
    found = []
    for c in answer.citations:
        claim = Claim(answer.sentences[c.sentence].text, c.quote, heading(answer.sources[c.source - 1].chunk))
        found.append({
            "sentence": claim.text, "quote": c.quote, "supports": round(judge.supports(bench.client, claim), 3),
            "contradicts": round(judge.contradicts(bench.client, claim), 3),
        })  # fmt: skip
    return found


def _own(bench: Bench, name: str) -> list[Case]:
    path = bench.data.get(name)
    if path is None:
        return []
    found: list[Case] = []
    for number, row in files.read_jsonl(path):
        where = f"{path}:{number}"
        question = question_of(row, where)
        label = row.get("answerable")
        if not isinstance(label, bool):
            raise DocumentError(f"{where}: `answerable` must be true or false")
        found.append({
            "id": question.id, "group": str(row.get("group", "all")), "kind": "answerable" if label else "unanswerable",
            "question": question.text, "row": row, "facts": row.get("facts", []), "answer": row.get("answer", ""),
        })  # fmt: skip
    return bench.take(found, 40)


def _worst(case: Case) -> dict[str, float]:
    """Wrong either way: a question with an answer refused, one without answered."""
    wanted = float(case["kind"] == "answerable")
    return {"refused": wanted, "unanswerable": 1 - wanted, "answered": 0.0, "correct": 0.0, "gold span cited": 0.0}


_CITATIONS = (
    Metric("citation validity", ("valid", "cited"), ratio, headline=True),
    metric("gold span cited", headline=True),
    Metric("citations of the gold note", ("gold note", "cited"), ratio),
    Metric("coverage", ("covered", "factual"), ratio),
    Metric("citation recall (ALCE, judged)", ("supported", "factual"), ratio),
    Metric("citation precision (ALCE, judged)", ("supported", "judged"), ratio),
    Metric("contradictions (judged)", ("contradicted", "judged"), ratio, better="lower"),
)
ANSWERS = Suite(
    "answers",
    "Grounded answers and citations",
    "Golden questions answered from the index. `correct`: every group of expected facts is in the answer; `coverage`: "
    "factual sentences with a citation.",
    (metric("answered"), metric("correct", headline=True), *_CITATIONS),
    answerable,
    prepare,
    _worst,
    kept_as="answers",
)
REFUSAL = Suite(
    "refusal",
    "Refusal",
    "Golden questions with and without an answer in the notes; the latter look answerable. Over-refusal: refused though "
    "the notes hold the answer.",
    (
        Metric("refusal precision", _REFUSED, precision),
        Metric("refusal recall", _REFUSED, recall),
        Metric("refusal F1", _REFUSED, f1, headline=True),
        Metric("over-refusal", _REFUSED, false_alarms, better="lower", headline=True),
    ),
    both,
    prepare,
    _worst,
    kept_as="answers",
)
