"""A file of questions in, a file of cited answers out: several in flight, resumable, in the order asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import files, journal
from core.errors import DocumentError
from core.types import Answer, Document, Message
from rag.answering import Answerer
from rag.documents import document


@dataclass(frozen=True, slots=True)
class Question:
    """One row: its text, the contexts that replace retrieval, the conversation so far."""

    id: str
    text: str
    contexts: tuple[Document, ...] = ()
    history: tuple[Message, ...] = ()


def read_questions(path: Path) -> list[Question]:
    """Rows `{_id, text[, contexts: [{doc_id, text}]][, messages: [{role, content}]]}`; DocumentError names the line."""
    questions: dict[str, Question] = {}
    for number, row in files.read_jsonl(path):
        where = f"{path}:{number}"
        question = question_of(row, where)
        if question.id in questions:
            raise DocumentError(f"{where}: question id {question.id!r} appears twice")
        questions[question.id] = question
    if not questions:
        raise DocumentError(f"{path}: no questions in it")
    return list(questions.values())


def question_of(row: dict[str, Any], where: str) -> Question:
    """One row as a question; DocumentError where it is none."""
    if not isinstance(row.get("_id"), str | int) or not isinstance(row.get("text"), str) or not row["text"].strip():
        raise DocumentError(f"{where}: a question row needs `_id` and a non-empty text value for `text`")
    return Question(str(row["_id"]), row["text"], _contexts(row, where), _history(row, where))


def answer_file(answerer: Answerer, questions: Sequence[Question], out: Path, concurrency: int) -> None:
    """Answers all questions into `out`. Finished rows wait in `out.partial`, so that a killed run goes on where it was."""
    partial = out.with_name(out.name + ".partial")
    keys = {q.id: _key(answerer, q) for q in questions}
    done = journal.each(
        lambda q: to_row(q.id, answer_one(answerer, q)),
        {keys[q.id]: q for q in questions},
        partial,
        label="answering",
        unit="question",
        concurrency=concurrency,
    )
    with files.replacing(out) as draft, draft.open("w", encoding="utf-8") as file:
        for question in questions:
            file.write(json.dumps(done[keys[question.id]], ensure_ascii=False) + "\n")
    partial.unlink()


def to_row(question_id: str, answer: Answer) -> dict[str, Any]:
    """The published answer row: plain JSON values, offsets into the stored document text."""
    return {
        "id": question_id,
        "question": answer.question,
        "answer": answer.text,
        "refused": answer.refused,
        "reason": answer.reason,
        "citations": [asdict(c) | {"sentence": answer.sentences[c.sentence].text} for c in answer.citations],
        "sentences": [{"text": s.text, "factual": s.factual, "supported": s.supported} for s in answer.sentences],
        "sources": [
            {
                "doc_id": hit.chunk.doc_id,
                "version": hit.chunk.version,
                "start": hit.chunk.start,
                "end": hit.chunk.end,
                "title": hit.chunk.title,
                "headings": list(hit.chunk.headings),
                "text": hit.chunk.text,
                "score": hit.score,
            }
            for hit in answer.sources
        ],
        "dropped_citations": answer.dropped_citations,
        "timings_ms": {name: round(ms, 1) for name, ms in answer.timings_ms.items()},
        "usage": asdict(answer.usage),
    }


def answer_one(answerer: Answerer, question: Question) -> Answer:
    """The answer to one row, over its own contexts where it has some. Raises ServingError."""
    return answerer.answer([*question.history, Message("user", question.text)], contexts=question.contexts)


def _contexts(row: dict[str, Any], where: str) -> tuple[Document, ...]:
    given = row.get("contexts") or []
    if not isinstance(given, list):
        raise DocumentError(f"{where}: `contexts` must be a list of {{doc_id, text}}")
    found: dict[str, Document] = {}
    for item in given:
        if (
            not isinstance(item, dict)
            or not isinstance(item.get("doc_id"), str | int)
            or not isinstance(item.get("text"), str)
        ):
            raise DocumentError(f"{where}: each context needs `doc_id` and a text value for `text`")
        doc = document(str(item["doc_id"]), str(item.get("title") or ""), item["text"])
        if doc.doc_id in found and found[doc.doc_id].text != doc.text:
            raise DocumentError(
                f"{where}: two different contexts have the doc_id {doc.doc_id!r}: offsets would be ambiguous"
            )
        if doc.text.strip():
            found[doc.doc_id] = doc
    return tuple(found.values())


def _history(row: dict[str, Any], where: str) -> tuple[Message, ...]:
    given = row.get("messages") or []
    if not isinstance(given, list):
        raise DocumentError(f"{where}: `messages` must be a list of {{role, content}}")
    history = []
    for item in given:
        if (
            not isinstance(item, dict)
            or item.get("role") not in ("system", "user", "assistant")
            or not isinstance(item.get("content"), str)
        ):
            raise DocumentError(f"{where}: each message needs a role (system, user, assistant) and a text `content`")
        history.append(Message(item["role"], item["content"]))
    # Some data sets repeat the question as the last message.
    if history and history[-1].role == "user" and history[-1].content.strip() == row["text"].strip():
        history.pop()
    return tuple(history)


def _key(answerer: Answerer, question: Question) -> str:
    """Content hash: an answer is taken up again only for the same question, model, index and settings."""
    generation = answerer.retriever.index.manifest.generation if answerer.retriever else ""
    index_settings = answerer.retriever.index.settings.model_dump_json() if answerer.retriever else ""
    endpoint = answerer.client.endpoint
    parts = [
        json.dumps(asdict(question)),
        endpoint.base_url,
        endpoint.model,
        generation,
        index_settings,
        answerer.settings.model_dump_json(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
