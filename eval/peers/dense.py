"""Plain dense retrieval: sentence-transformers with its defaults over windows of words, the product of unit vectors."""

from __future__ import annotations

import numpy as np
import sentence_transformers

from eval.peers.contract import PASSAGES, Document, Search, run

WORDS, STRIDE = 200, 150


def index(documents: list[Document], weights: str) -> Search:
    """One vector a window."""
    model = sentence_transformers.SentenceTransformer(weights, local_files_only=True)
    names, texts = [], []
    for document in documents:
        words = f"{document.get('title', '')}\n{document['text']}".split()
        for at in range(0, max(1, len(words) - WORDS + STRIDE), STRIDE):
            names.append(document["_id"])
            texts.append(" ".join(words[at : at + WORDS]))
    vectors = model.encode(texts, normalize_embeddings=True)

    def search(question: str) -> list[tuple[str, float]]:
        scores = vectors @ model.encode([question], normalize_embeddings=True)[0]
        return [(names[int(i)], float(scores[i])) for i in np.argsort(-scores)[:PASSAGES]]

    return search


if __name__ == "__main__":
    version = sentence_transformers.__version__
    run(index, {"package": f"sentence-transformers {version}", "window": f"{WORDS} words, stride {STRIDE}"})
