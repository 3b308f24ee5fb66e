"""Fusion and aggregation against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import Chunk, Hit
from rag.fusion import document_scores, in_turns, normalise, top, weighted_sum
from rag.reranking import max_sim


def test_weighted_sum_of_normalised_scores() -> None:
    bm25 = normalise(np.array([4.0, 2.0, 0.0], np.float32))
    assert bm25.tolist() == [1.0, 0.5, 0.0]
    fused = weighted_sum({"dense": np.array([0.2, 0.8, 0.4], np.float32), "bm25": bm25}, {"dense": 0.5, "bm25": 0.5})
    assert fused.tolist() == pytest.approx([0.6, 0.65, 0.2])


def test_normalise_of_nothing_shared_is_zero() -> None:
    assert normalise(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


def test_top_is_stable_on_ties() -> None:
    assert top(np.array([1, 3, 3, 0], np.float32), 3).tolist() == [1, 2, 0]
    assert top(np.zeros(0, np.float32), 3).tolist() == []


def test_document_score_is_best_chunk_plus_share_of_best_three() -> None:
    # a: 1.0 + 0.3 * (1.0 + 0.5 + 0) / 3 = 1.15; b: 0.9 + 0.3 * (0.9 + 0.9 + 0.9) / 3 = 1.17
    scores = document_scores(["a", "b", "b", "a", "b", "b"], [1.0, 0.9, 0.9, 0.5, 0.9, 0.1], 3, 0.3)
    assert list(scores) == ["b", "a"]
    assert scores["a"] == (pytest.approx(1.15), 0)
    assert scores["b"] == (pytest.approx(1.17), 1)


def test_max_sim_by_hand() -> None:
    query = np.array([[1, 0], [0, 1]], np.float32)
    passage = np.array([[0.6, 0.8], [1, 0]], np.float32)
    assert max_sim(query, passage) == pytest.approx((1.0 + 0.8) / 2)
    assert max_sim(query, np.zeros((0, 2), np.float32)) == 0.0


@given(st.lists(st.lists(st.integers(0, 9), unique=True, max_size=5), max_size=4), st.integers(0, 8))
def test_hits_in_turns_keep_each_list_s_order_and_favour_none(lists: list[list[int]], k: int) -> None:
    made = [[_hit(str(n), rank) for rank, n in enumerate(each)] for each in lists]
    found = [int(hit.chunk.chunk_id) for hit in in_turns(made, k)]
    assert len(found) == len(set(found)) == min(k, len({n for each in lists for n in each}))
    best = {n: min(each.index(n) for each in lists if n in each) for n in found}
    assert [best[n] for n in found] == sorted(best[n] for n in found)


def _hit(name: str, rank: int) -> Hit:
    return Hit(Chunk(name, name, "", 0, 1, "x", ""), 0.0, rank, "reranked")
