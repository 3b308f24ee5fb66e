"""What an imported question lacks, found in the notes: the sentence it rests on, and the exam task it belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from agents.bank import Question, Source
from agents.examiner.gates import text_of
from core.exam import TASKS
from rag.chunking import sentences
from rag.citations import attribute
from rag.config import AnswerSettings
from rag.notes import listed

if TYPE_CHECKING:
    from core.types import Document
    from rag.embedding import Floats
    from rag.retriever import Retriever

_HITS = 6


def source_of(question: Question, retriever: Retriever) -> Source | None:
    """The span that best supports the key as the answer to the stem; None where no span supports it.

    Support is what the tutor asks of its own answers (rag/citations.py, AnswerSettings.support).
    """

    def encode(texts: Sequence[str]) -> Floats:
        return retriever.embedder.encode(list(texts), tokens=False)[0]

    hits = retriever.search(text_of(question), k=_HITS).hits
    found = attribute(
        _claims(question), hits, retriever.document, encode, retriever.index.bm25.tokens, AnswerSettings().support
    )
    best = max(found.citations, key=lambda citation: citation.support, default=None)
    return Source(best.doc_id, best.start, best.end, best.quote) if best else None


def task_of(doc_id: str, domain: int | None, retriever: Retriever, bank: Iterable[Question]) -> str | None:
    """A task statement for a question on that note, of the domain where one is given; None where nothing tells.

    What most of the bank's questions on the note are of; else the note's own first task; else what most of the bank's
    questions on the notes of its folder are of.
    """
    notes = retriever.documents()
    folder = doc_id.rpartition("/")[0]
    fitting = [q for q in bank if domain in (None, q.domain)]
    on_note = Counter(q.task for q in fitting if q.source.doc_id == doc_id)
    in_folder = Counter(q.task for q in fitting if q.source.doc_id.rpartition("/")[0] == folder)
    own = [t for t in _own_tasks(notes.get(doc_id)) if domain in (None, int(t.split(".")[0]))]
    ranked = [*(t for t, _ in on_note.most_common(1)), *own, *(t for t, _ in in_folder.most_common(1))]
    return ranked[0] if ranked else None


def _own_tasks(note: Document | None) -> list[str]:
    return [str(t) for t in listed(note, "tasks") if str(t) in TASKS] if note else []


def _claims(question: Question) -> str:
    """The key as statements, each a sentence of its own: with the whole stem, and with its last sentence alone."""
    stem = " ".join(question.question.split())
    asked = [stem[a:b].rstrip(".?!:_… ") for a, b in sentences(stem)]
    key = " and ".join(question.options[i].strip().rstrip(".") for i in question.correct)
    return "\n\n".join(dict.fromkeys(f"{stated}: {key}." for stated in ("; ".join(asked), asked[-1] if asked else "")))
