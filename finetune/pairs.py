"""The rows that train the embedder: a question, and the passage of a document that holds the quote which answers it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core import files
from core.errors import DatasetError
from core.types import Document
from finetune.config import EmbedderSettings
from rag.chunking import chunk_document, contextual_text
from rag.config import ChunkSettings
from rag.documents import load_sources


@dataclass(frozen=True, slots=True)
class Pair:
    """A question, the text of its passage as the index embeds it, and the document that holds it."""

    question: str
    passage: str
    doc_id: str


def read(settings: EmbedderSettings) -> list[Pair]:
    """The pairs to train on, in file order: all but those of `held_out_fold`. DatasetError names file and line where a document or its quote is not there."""
    documents = {d.doc_id: d for d in load_sources(settings.sources)}
    passages: dict[str, list[tuple[int, int, str]]] = {}
    pairs = []
    for path in _files(settings.datasets):
        for number, row in files.read_jsonl(path, DatasetError):
            where = f"{path}:{number}"
            question, doc_id, quote = (row.get(key) for key in ("question", "doc_id", "quote"))
            if not (isinstance(question, str) and question.strip() and isinstance(quote, str) and quote.strip()):
                raise DatasetError(f"{where}: needs question and quote, as texts")
            document = documents.get(str(doc_id))
            if document is None:
                raise DatasetError(f"{where}: no document {doc_id!r} under {', '.join(map(str, settings.sources))}")
            start = document.text.find(quote)
            if start < 0:
                raise DatasetError(f"{where}: {doc_id} does not hold the quote word for word: {quote[:60]!r}")
            held = passages.setdefault(document.doc_id, _passages(document))
            # The passage that holds most of the quote: one may be cut by a chunk's end.
            best = max(held, key=lambda p: min(p[1], start + len(quote)) - max(p[0], start))
            if not held_out(document.doc_id, settings):
                pairs.append(Pair(question, best[2], document.doc_id))
    if not pairs:
        raise DatasetError(f"{', '.join(map(str, settings.datasets))}: no pairs found")
    return pairs


def held_out(doc_id: str, settings: EmbedderSettings) -> bool:
    """Whether questions on this document are kept from training."""
    return zlib.crc32(doc_id.encode()) % settings.folds == settings.held_out_fold


def _files(given: Sequence[Path]) -> list[Path]:
    found = []
    for path in given:
        found += sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    return found


def _passages(document: Document) -> list[tuple[int, int, str]]:
    return [(c.start, c.end, contextual_text(c)) for c in chunk_document(document, ChunkSettings())]
