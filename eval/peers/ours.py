"""This project with its defaults: `rag build`, then one search a question, documents ranked."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from eval.peers.contract import DEPTH, Document, Search, run
from rag.building import build
from rag.config import IndexSettings
from rag.retriever import Retriever

_FOLDER = tempfile.TemporaryDirectory(prefix="genl-peers-")


def index(documents: list[Document], weights: str) -> Search:
    """An index on disk, opened as every command opens it."""
    place = Path(_FOLDER.name)
    source = place / "corpus.jsonl"
    source.write_text("".join(json.dumps(d) + "\n" for d in documents), encoding="utf-8")
    settings = IndexSettings.model_validate({"dense": {"model": weights}})
    build([source], place / "index", settings, progress=False)
    retriever = Retriever.open(place / "index")

    def search(question: str) -> list[tuple[str, float]]:
        return [(hit.chunk.doc_id, hit.score) for hit in retriever.search(question, k=DEPTH, by="document").hits]

    return search


if __name__ == "__main__":
    run(index, {"settings": "defaults", **IndexSettings().model_dump()})
