"""Scores of several stages as one, and chunk scores as document scores. Pure functions over numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from core.types import Hit

Floats = NDArray[np.float32]


def normalise(scores: Floats) -> Floats:
    """Scores divided by their maximum; all zeros where the maximum is not positive. BM25 then lies in [0, 1]."""
    top = float(scores.max(initial=0.0))
    scaled: Floats = scores / np.float32(top) if top > 0 else np.zeros_like(scores)
    return scaled


def weighted_sum(scores: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """Σ weight · score over stages (Bruch et al. 2023, "An Analysis of Fusion Functions for Hybrid Retrieval").

    Rank fusion (RRF) throws the margins away, and on our measurements loses to BM25 alone.
    """
    total: Floats = np.sum([np.float32(weights[name]) * values for name, values in scores.items()], axis=0)
    return total


def top(scores: Floats, k: int) -> NDArray[np.int64]:
    """Positions of the k highest scores, best first; ties keep their order."""
    k = min(k, len(scores))
    if k <= 0:
        return np.zeros(0, np.int64)
    part = np.argpartition(-scores, k - 1)[:k]
    return np.asarray(part[np.lexsort((part, -scores[part]))], np.int64)


def document_scores(
    doc_ids: Sequence[str], scores: Sequence[float], best_of: int, share: float
) -> dict[str, tuple[float, int]]:
    """For each document its score and the position of its best chunk, best document first.

    A document scores as its best chunk plus `share` times the mean of its best `best_of` chunks (a missing one counts
    as zero): several good passages beat one.
    """
    grouped: dict[str, list[int]] = {}
    for position, doc_id in enumerate(doc_ids):
        grouped.setdefault(doc_id, []).append(position)
    out: dict[str, tuple[float, int]] = {}
    for doc_id, positions in grouped.items():
        ranked = sorted(positions, key=lambda p: (-scores[p], p))
        mean = sum(scores[p] for p in ranked[:best_of]) / best_of
        out[doc_id] = (scores[ranked[0]] + share * mean, ranked[0])
    return dict(sorted(out.items(), key=lambda item: (-item[1][0], item[0])))


def in_turns(lists: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    """At most k hits, the first of each list, then the second of each, and so on; each chunk once."""
    found: dict[str, Hit] = {}
    for rank in zip_longest(*lists):
        for hit in rank:
            if hit is not None:
                found.setdefault(hit.chunk.chunk_id, hit)
    return list(found.values())[:k]
