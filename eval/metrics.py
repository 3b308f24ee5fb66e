"""What suites measure, as pure functions, and how sure one may be of it.

A statistic takes values `[…, n, columns]`, one row a case, and gives `[…]`: the same function scores a run and, over a
leading axis of resamples, its bootstrap. NaN marks a case to which a column does not apply.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Statistic = Callable[[Values], Values]
_BATCH = 250  # resamples held in memory at once


def applies(values: Values) -> int:
    """How many of the cases `[n, columns]` have all columns, so that a statistic rests on them."""
    return int((~np.isnan(values).any(axis=-1)).sum())


def mean(values: Values) -> Values:
    """The mean of the first column over the cases it applies to; 0 where it applies to none."""
    return ratio(np.stack([values[..., 0], np.where(np.isnan(values[..., 0]), np.nan, 1.0)], axis=-1))


def ratio(values: Values) -> Values:
    """The sum of the first column over that of the second (a micro-average), over cases that have both; 0 where that is 0."""
    held = ~np.isnan(values[..., :2]).any(axis=-1)
    above, below = (np.where(held, values[..., column], 0.0).sum(axis=-1) for column in (0, 1))
    found: Values = np.divide(above, below, out=np.zeros_like(above), where=below != 0)
    return found


def precision(values: Values) -> Values:
    """Of the cases with a 1 in the first column (given), the share with a 1 in the second (wanted)."""
    given, wanted = values[..., 0], values[..., 1]
    return ratio(np.stack([given * wanted, given], axis=-1))


def recall(values: Values) -> Values:
    """Of the cases with a 1 in the second column (wanted), the share with a 1 in the first (given)."""
    return precision(values[..., ::-1])


def f1(values: Values) -> Values:
    """The harmonic mean of precision and recall: 2·both / (given + wanted)."""
    given, wanted = values[..., 0], values[..., 1]
    return ratio(np.stack([2 * given * wanted, given + wanted], axis=-1))


def false_alarms(values: Values) -> Values:
    """Of the cases with a 0 in the second column (not wanted), the share with a 1 in the first (given)."""
    given, unwanted = values[..., 0], 1 - values[..., 1]
    return ratio(np.stack([given * unwanted, unwanted], axis=-1))


def kappa(values: Values) -> Values:
    """Cohen's κ of two columns of 0 and 1 (Cohen 1960): agreement beyond what their shares of 1 give by chance."""
    a, b = values[..., 0], values[..., 1]
    seen = (a == b).mean(axis=-1)
    p, q = a.mean(axis=-1), b.mean(axis=-1)
    chance = p * q + (1 - p) * (1 - q)
    found: Values = np.divide(seen - chance, 1 - chance, out=np.zeros_like(seen), where=chance < 1)
    return found


def auc(values: Values) -> Values:
    """Area under the ROC curve: columns label (0, 1) and score; the chance that a 1 scores above a 0, ties half."""
    from scipy.stats import rankdata

    label, ranks = values[..., 0], rankdata(values[..., 1], axis=-1)
    ones = label.sum(axis=-1)
    pairs = ones * (label.shape[-1] - ones)
    over = (ranks * label).sum(axis=-1) - ones * (ones + 1) / 2
    found: Values = np.divide(over, pairs, out=np.full_like(over, 0.5), where=pairs > 0)
    return found


def ece(values: Values, bins: int = 10) -> Values:
    """Expected calibration error: columns confidence in [0, 1] and right (Naeini 2015; Guo 2017, equal-width bins)."""
    confidence, right = values[..., 0], values[..., 1]
    place = np.clip((confidence * bins).astype(int), 0, bins - 1)
    total = np.zeros(values.shape[:-2])
    for number in range(bins):
        inside = place == number
        total += np.abs(((confidence - right) * inside).sum(axis=-1)) / values.shape[-2]
    return total


def quantile(q: float) -> Statistic:
    """The q-quantile of the first column."""

    def statistic(values: Values) -> Values:
        found: Values = np.nan_to_num(np.nanquantile(values[..., 0], q, axis=-1))
        return found

    return statistic


def uniform_p(values: Values) -> Values:
    """The χ² test's p that the numbers of the first column (0, 1, 2, 3) are drawn evenly (Pearson 1900)."""
    from scipy.stats import chi2

    held = ~np.isnan(values[..., 0])
    counts = np.stack([((values[..., 0] == i) & held).sum(axis=-1) for i in range(4)], axis=-1)
    expected = np.maximum(counts.sum(axis=-1, keepdims=True) / 4, 1e-12)
    found: Values = chi2.sf(((counts - expected) ** 2 / expected).sum(axis=-1), df=3)
    return found


def ndcg(ranked: Sequence[str], relevant: Mapping[str, float], k: int = 10) -> float:
    """nDCG@k as trec_eval has it: gain is the grade, discount log2(rank + 1) (Järvelin and Kekäläinen 2002)."""
    gained = sum(relevant.get(name, 0) / math.log2(rank + 1) for rank, name in enumerate(ranked[:k], 1))
    ideal = sum(
        grade / math.log2(rank + 1) for rank, grade in enumerate(sorted(relevant.values(), reverse=True)[:k], 1)
    )
    return gained / ideal if ideal else 0.0


def recall_at(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """The share of what is relevant among the first k."""
    return len(set(ranked[:k]) & set(relevant)) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranked: Sequence[str], relevant: Collection[str], k: int | None = None) -> float:
    """1 over the rank of the first relevant one; 0 where there is none."""
    return next((1 / rank for rank, name in enumerate(ranked[:k], 1) if name in relevant), 0.0)


def interval(
    values: Values, statistic: Statistic, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """The statistic of the cases, and the bounds of its percentile bootstrap interval (Efron 1979)."""
    drawn = _resampled([values], statistic, resamples, seed)[0]
    return (float(statistic(values)), *_bounds(drawn, level))


def gain(
    before: Values, after: Values, statistic: Statistic, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """`after` minus `before` over the same cases in the same order, each drawn for both alike, and the bounds."""
    old, new = _resampled([before, after], statistic, resamples, seed)
    return (float(statistic(after) - statistic(before)), *_bounds(new - old, level))


def _resampled(arrays: Sequence[Values], statistic: Statistic, resamples: int, seed: int) -> list[Values]:
    draw = np.random.default_rng(seed)
    count = arrays[0].shape[-2]
    found: list[list[Values]] = [[] for _ in arrays]
    for start in range(0, resamples, _BATCH):
        chosen = draw.integers(0, count, size=(min(_BATCH, resamples - start), count))
        for mine, values in zip(found, arrays, strict=True):
            mine.append(statistic(values[chosen]))
    return [np.concatenate(mine) for mine in found]


def _bounds(drawn: Values, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
