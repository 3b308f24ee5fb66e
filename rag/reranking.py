"""Candidates scored again, closely: `open_reranker` gives one of two, chosen by settings.

Late interaction compares token vectors that the index already holds and needs no further weights. A cross-encoder
reads question and passage together; its weights come from the registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rag.chunking import contextual_text
from rag.embedding import Embedder, Floats, weights_folder
from rag.index import Index


class Reranker(Protocol):
    """Scores in about [0, 1] for the chunks at `positions` of the index, float32 [len(positions)]."""

    def scores(self, query: str, query_tokens: Floats, positions: NDArray[np.int64]) -> Floats: ...


def open_reranker(index: Index, embedder: Embedder) -> Reranker | None:
    """The reranker that the index's settings name; None for `none`."""
    settings = index.settings.reranking
    if settings.kind == "none":
        return None
    if settings.kind == "cross-encoder":
        return CrossEncoderReranker(index, settings.model)
    return LateInteraction(index, embedder)


def max_sim(query: Floats, passage: Floats) -> float:
    """Mean over the query's tokens of the best cosine with any passage token (ColBERT, Khattab & Zaharia 2020).

    `query` [q, dim] and `passage` [t, dim] are unit rows. The mean, not ColBERT's sum: it does not grow with the
    question's length, so it can be added to other normalised scores. 0 where either has no token.
    """
    if not len(query) or not len(passage):
        return 0.0
    return float((query @ passage.T).max(axis=1).mean())


class LateInteraction:
    """MaxSim over the embedder's token vectors, stored with the index or, where it has none, computed on the spot."""

    def __init__(self, index: Index, embedder: Embedder) -> None:
        self._index, self._embedder = index, embedder

    def scores(self, query: str, query_tokens: Floats, positions: NDArray[np.int64]) -> Floats:
        """MaxSim of each chunk."""
        # The first and last token are the model's own [CLS] and [SEP].
        inner = query_tokens[1:-1] if len(query_tokens) > 2 else query_tokens
        stored = self._index.tokens
        if stored is not None:
            passages = [stored.passage(int(i)) for i in positions]
        else:
            _, rows = self._embedder.encode([contextual_text(self._index.chunks[int(i)]) for i in positions])
            passages = [values.astype(np.float32) * scales.astype(np.float32)[:, None] for values, scales in rows]
        return np.array([max_sim(inner, p) for p in passages], np.float32)


class CrossEncoderReranker:
    """A sequence-classification model with one output, through sentence-transformers' CrossEncoder."""

    def __init__(self, index: Index, name: str) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        self._index = index
        self._model = CrossEncoder(
            str(weights_folder(name)), num_labels=1, activation_fn=torch.nn.Sigmoid(), local_files_only=True
        )

    def scores(self, query: str, query_tokens: Floats, positions: NDArray[np.int64]) -> Floats:
        """The model's probability that each chunk answers the question."""
        pairs: Sequence[tuple[str, str]] = [(query, contextual_text(self._index.chunks[int(i)])) for i in positions]
        return np.asarray(self._model.predict(list(pairs), show_progress_bar=False), np.float32)
