"""Grounded answers, their citations, and refusals: retrieval and writing as the tutor does them, over the golden questions.

What needs no judge comes first. With a judge (`--judge`) every factual sentence is read beside its span, or where it has
none beside the passage nearest to it:

- groundedness, and apart from it contradictions: the share of factual sentences that their passage supports, contradicts;
- citation recall and precision (ALCE, Gao et al. 2023): the share of factual sentences that their citations support, and
  of citations that support their sentence. Here a sentence has one citation at most, so that none is redundant.

Own data: rows `{_id, text, contexts, messages, answerable}` as `rag ask` reads them, with `facts` and `group` if wished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.verifier import Claim, heading
from core import files
from core.errors import DocumentError
from core.types import Answer, Document, Hit
from eval import golden, judge
from eval.metrics import f1, false_alarms, precision, ratio, recall
from eval.suite import Bench, Case, Metric, Row, Suite, metric
from rag.answering import Answerer
from rag.asking import Question, answer_one, question_of, to_row
from rag.citations import says
from rag.retriever import Retriever

_REFUSED = ("refused", "unanswerable")


def answerable(bench: Bench) -> list[Case]:
    """The golden questions with an answer in the notes; or those of the file given for `answers`."""
    return _marked(bench, _own(bench, "answers") or golden.questions(bench, answerable=True))


def both(bench: Bench) -> list[Case]:
    """All golden questions; or those of the file given for `refusal`."""
    return _marked(bench, _own(bench, "refusal") or golden.questions(bench))


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """One question answered, and its answer held against what is known of it."""
    retriever = bench.retriever
    answerer = Answerer(retriever, bench.client)

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
        if bench.has_judge:
            shown["judge"] = _judged(bench, answer)
            scores |= _verdicts(shown["judge"])
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
    """Each factual sentence beside the span it cites, or where it cites none beside the passage nearest to it."""
    cited = {c.sentence: c for c in answer.citations}
    found = []
    for number, sentence in enumerate(answer.sentences):
        if not sentence.factual:
            continue
        citation = cited.get(number)
        hit = (
            answer.sources[citation.source - 1]
            if citation
            else _nearest(bench.retriever, sentence.text, answer.sources)
        )
        claim = Claim(sentence.text, citation.quote if citation else hit.chunk.text, heading(hit.chunk))
        found.append({
            "sentence": claim.text, "cited": citation is not None, "passage": claim.passage,
            "supports": round(judge.supports(bench.judge, claim), 3),
            "contradicts": round(judge.contradicts(bench.judge, claim), 3),
        })  # fmt: skip
    return found


def _nearest(retriever: Retriever, text: str, sources: Sequence[Hit]) -> Hit:
    vectors, _ = retriever.embedder.encode([text, *(hit.chunk.text for hit in sources)], tokens=False)
    return sources[int(np.argmax(vectors[1:] @ vectors[0]))]


def _verdicts(judged: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    grounded = [v["supports"] >= judge.THRESHOLD for v in judged]
    return {
        "judged": float(len(judged)),
        "grounded": float(sum(grounded)),
        "supported": float(sum(held and v["cited"] for held, v in zip(grounded, judged, strict=True))),
        "contradicted": float(sum(v["contradicts"] >= judge.THRESHOLD for v in judged)),
    }


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


def _marked(bench: Bench, cases: Sequence[Case]) -> list[Case]:
    """With a note of whether a judge would have read the answer, for those that fail."""
    return [{**case, "_judged": bench.has_judge} for case in cases]


def _worst(case: Case) -> dict[str, float]:
    """Wrong either way: a question with an answer refused, one without answered; in one sentence, cited and judged wrong."""
    wanted = float(case["kind"] == "answerable")
    found = {
        "refused": wanted, "unanswerable": 1 - wanted, "answered": 0.0, "correct": 0.0, "gold span cited": 0.0,
        "cited": 1.0, "valid": 0.0, "gold note": 0.0, "factual": 1.0, "covered": 0.0,
    }  # fmt: skip
    judged = {"judged": 1.0, "grounded": 0.0, "supported": 0.0, "contradicted": 1.0}
    return found | (judged if case["_judged"] else {})


_CITATIONS = (
    Metric("citation validity", ("valid", "cited"), ratio, headline=True),
    metric("gold span cited", headline=True),
    Metric("citations of the gold note", ("gold note", "cited"), ratio),
    Metric("coverage", ("covered", "factual"), ratio),
    Metric("groundedness (judged)", ("grounded", "judged"), ratio, judged=True),
    Metric("contradictions (judged)", ("contradicted", "judged"), ratio, better="lower", judged=True),
    Metric("citation recall (ALCE, judged)", ("supported", "judged"), ratio, judged=True),
    Metric("citation precision (ALCE, judged)", ("supported", "cited"), ratio, judged=True),
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
    takes=frozenset({"judge"}),
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
    takes=frozenset({"judge"}),
)
