"""Metrics against hand-worked numbers, and against ir-measures and scikit-learn where those compute the same."""

from __future__ import annotations

import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, nDCG

from eval import metrics


def _columns(*columns: list[float]) -> metrics.Values:
    return np.array(columns, float).T


def test_ranking_by_hand() -> None:
    ranked, relevant = ["a", "b", "c"], {"b": 1.0, "d": 1.0}
    # Found at rank 2: 1/log2(3); ideal: 1/log2(2) + 1/log2(3).
    assert metrics.ndcg(ranked, relevant) == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    assert metrics.recall_at(ranked, relevant, 1) == 0 and metrics.recall_at(ranked, relevant, 2) == 0.5
    assert metrics.reciprocal_rank(ranked, relevant) == 0.5 and metrics.reciprocal_rank(["x"], relevant) == 0
    assert metrics.ndcg([], relevant) == 0 and metrics.ndcg(ranked, {}) == 0


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 3), min_size=1), st.permutations(list("abcdefghijkl"))
)
def test_ranking_as_ir_measures_has_it(relevant: dict[str, int], ranked: list[str]) -> None:
    qrels = [ir_measures.Qrel("q", name, grade) for name, grade in relevant.items()]
    run = [ir_measures.ScoredDoc("q", name, float(-n)) for n, name in enumerate(ranked)]
    theirs = ir_measures.calc_aggregate([nDCG @ 10, R @ 5, RR @ 10], qrels, run)
    assert metrics.ndcg(ranked, relevant) == pytest.approx(theirs[nDCG @ 10], abs=1e-6)
    assert metrics.recall_at(ranked, relevant, 5) == pytest.approx(theirs[R @ 5], abs=1e-6)
    assert metrics.reciprocal_rank(ranked, relevant, 10) == pytest.approx(theirs[RR @ 10], abs=1e-6)


def test_means_and_ratios() -> None:
    nan = math.nan
    assert metrics.mean(_columns([1, 0, nan, 1])) == pytest.approx(2 / 3)
    assert metrics.mean(_columns([nan, nan])) == 0
    assert (
        metrics.ratio(_columns([1, 2, nan, 9], [2, 4, nan, nan])) == 0.5 and metrics.ratio(_columns([0.0], [0.0])) == 0
    )


def test_refusal_by_hand() -> None:
    # Refused 3, of which 2 rightly; 4 were to be refused, 2 were not: P = 2/3, R = 1/2, F1 = 4/7, over-refusal 1/2.
    values = _columns([1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 1, 0])
    assert metrics.precision(values) == pytest.approx(2 / 3) and metrics.recall(values) == 0.5
    assert metrics.f1(values) == pytest.approx(4 / 7) and metrics.false_alarms(values) == 0.5
    assert metrics.f1(_columns([0.0], [0.0])) == 0


def test_kappa_by_hand() -> None:
    # 10 cases: agree on 7; shares .6 and .5: chance = .3 + .2 = .5, κ = .4.
    a = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    b = [1, 1, 1, 1, 0, 0, 1, 0, 0, 0]
    assert metrics.kappa(_columns(a, b)) == pytest.approx(0.4)
    assert metrics.kappa(_columns([1, 1], [1, 1])) == 0  # nothing to agree on beyond chance


def test_auc_and_ece() -> None:
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(0)
    label, score = draw.integers(0, 2, 50), draw.integers(0, 9, 50) / 10
    assert metrics.auc(_columns(list(label), list(score))) == pytest.approx(roc_auc_score(label, score))
    # Two at .9 of which one is right, two at .3 of which none is: (2·|.9 − .5| + 2·|.3 − 0|) / 4.
    assert metrics.ece(_columns([0.9, 0.9, 0.3, 0.3], [1, 0, 0, 0])) == pytest.approx(0.35)


def test_letters_and_quantiles() -> None:
    from scipy.stats import chisquare

    places = [0] * 10 + [1] * 4 + [2] * 5 + [3] * 5
    assert metrics.uniform_p(_columns([float(p) for p in places])) == pytest.approx(chisquare([10, 4, 5, 5]).pvalue)
    assert metrics.quantile(0.5)(_columns([1, 9, 2])) == 2


def test_intervals_cover_and_pairs_sharpen() -> None:
    values = _columns([0.0] * 50 + [1.0] * 50)
    value, low, high = metrics.interval(values, metrics.mean)
    # The standard error of a proportion of one half over 100 is 0.05.
    assert value == 0.5 and 0.38 <= low <= 0.43 and 0.57 <= high <= 0.62
    better = values.copy()
    better[:10] = 1.0
    change, low, high = metrics.gain(values, better, metrics.mean)
    assert change == pytest.approx(0.1) and 0 < low < 0.1 < high < 0.2
    assert metrics.gain(values, values, metrics.mean) == (0, 0, 0)
    assert metrics.interval(values[:1], metrics.mean) == (0, 0, 0)


@pytest.mark.parametrize(
    "statistic",
    [
        metrics.mean,
        metrics.ratio,
        metrics.precision,
        metrics.f1,
        metrics.kappa,
        metrics.auc,
        metrics.ece,
        metrics.uniform_p,
    ],
)
def test_a_statistic_of_resamples_is_that_of_each(statistic: metrics.Statistic) -> None:
    draw = np.random.default_rng(1)
    many = draw.integers(0, 2, (7, 20, 2)).astype(float)
    assert statistic(many) == pytest.approx([float(statistic(one)) for one in many])
