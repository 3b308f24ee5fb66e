"""bm25s as its README shows it: English stop words, whole documents."""

from __future__ import annotations

import bm25s

from eval.peers.contract import PASSAGES, Document, Search, run


def index(documents: list[Document], weights: str) -> Search:
    """BM25 over title and text."""
    names = [d["_id"] for d in documents]
    tokens = bm25s.tokenize(
        [f"{d.get('title', '')}\n{d['text']}" for d in documents], stopwords="en", show_progress=False
    )
    retriever = bm25s.BM25()
    retriever.index(tokens, show_progress=False)

    def search(question: str) -> list[tuple[str, float]]:
        asked = bm25s.tokenize(question, stopwords="en", show_progress=False)
        found, scores = retriever.retrieve(asked, k=min(PASSAGES, len(names)), show_progress=False)
        return [(names[int(i)], float(score)) for i, score in zip(found[0], scores[0], strict=True)]

    return search


if __name__ == "__main__":
    run(index, {"package": f"bm25s {bm25s.__version__}", "stopwords": "en", "unit": "whole documents"})
