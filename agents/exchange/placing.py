"""The sentence of the notes that an imported question rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agents.bank import Question, Source
from agents.examiner.gates import text_of
from rag.chunking import sentences
from rag.citations import attribute
from rag.config import AnswerSettings

if TYPE_CHECKING:
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


def _claims(question: Question) -> str:
    """The key as statements, each a sentence of its own: with the whole stem, and with its last sentence alone."""
    stem = " ".join(question.question.split())
    asked = [stem[a:b].rstrip(".?!:_… ") for a, b in sentences(stem)]
    key = " and ".join(question.options[i].strip().rstrip(".") for i in question.correct)
    return "\n\n".join(dict.fromkeys(f"{stated}: {key}." for stated in ("; ".join(asked), asked[-1] if asked else "")))
