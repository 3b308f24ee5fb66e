"""haiku.rag with its defaults: docling's hybrid chunks of 256 tokens, LanceDB, vectors and full text joined by reciprocal ranks."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Any

from haiku.rag.client import HaikuRAG
from haiku.rag.config import AppConfig

from eval.peers.contract import PASSAGES, Document, Search, run

_FOLDER = tempfile.TemporaryDirectory(prefix="genl-peers-")


def index(documents: list[Document], weights: str) -> Search:
    """A database made document by document, as its Python guide does."""
    dim = json.loads((Path(weights) / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    config = AppConfig.model_validate(
        {
            "embeddings": {"model": {"provider": "sentence-transformers", "name": weights, "vector_dim": dim}},
            "processing": {"chunking_tokenizer": weights},  # chunks are to be measured as the embedder reads them
        }
    )
    runner = asyncio.Runner()
    client = HaikuRAG(Path(_FOLDER.name) / "peer.lancedb", config=config, create=True)

    def wait(work: Coroutine[Any, Any, Any]) -> Any:
        return runner.run(work)

    async def fill() -> None:
        await client.__aenter__()
        for document in documents:
            title = document.get("title") or None
            await client.create_document(document["text"], uri=document["_id"], title=title)

    def search(question: str) -> list[tuple[str, float]]:
        return [(hit.document_uri, hit.score) for hit in wait(client.search(question, limit=PASSAGES))]

    wait(fill())
    return search


if __name__ == "__main__":
    run(
        index,
        {
            "package": f"haiku.rag-slim {version('haiku.rag-slim')}",
            "chunks": "docling, hybrid, 256 tokens of the embedder",
            "search": "hybrid",
            "store": "LanceDB",
        },
    )
