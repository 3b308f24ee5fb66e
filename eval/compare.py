"""Two results side by side: what got worse, what got better, and where no difference is shown.

The same cases of both are paired, and the interval of the difference is drawn over them. With many figures some
differences would look sure by luck: the interval's level is 1 − α / number of figures (Bonferroni), so that of a hundred
comparisons of a thing with itself about one raises any alarm. A figure of which m cases differ cannot have a p below
2^(1 − m) (all of them the same way, in a sign test): where that is too much it shows no difference, whatever the
bootstrap of so few makes of it, and it is not counted among the figures (Tarone 1990).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core import files
from core.errors import ConfigError
from eval.metrics import Values, gain
from eval.suite import Metric, Row, Suite

Verdict = Literal["worse", "better", "no difference shown"]
SCHEMA = 2  # of result.json, eval/result.schema.json
ALPHA = 0.01
RESAMPLES = 20_000  # a tail of α / 100 still rests on two of them


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two runs over their common cases."""

    suite: str
    metric: str
    before: float
    after: float
    low: float
    high: float
    n: int
    headline: bool
    verdict: Verdict

    @property
    def change(self) -> float:
        """After minus before."""
        return self.after - self.before


def read(folder: Path) -> dict[str, Any]:
    """A run's `result.json`. ConfigError where there is none, or one of another form."""
    try:
        found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(
            f"{folder}: no result of a run there. Make one: python -m eval run SUITE --out {folder}"
        ) from None
    if found.get("schema") != SCHEMA:
        raise ConfigError(
            f"{folder}/result.json: of form {found.get('schema')}, not {SCHEMA}: from another version of this program. Run it again"
        )
    return found


def rows(folder: Path, suite: str) -> list[Row]:
    """A run's rows of one suite; none where it has no such suite."""
    path = folder / "rows" / f"{suite}.jsonl"
    return [row for _, row in files.read_jsonl(path)] if path.exists() else []


def compare(
    suites: Mapping[str, Suite], before: Path, after: Path, threshold: float = 0.0, seed: int = 0
) -> list[Difference]:
    """The differences of all figures that both runs have, worse ones first. A smaller one than `threshold` is none."""
    pairs: list[tuple[str, Metric, Values, Values]] = []
    for name in read(before)["suites"]:
        if name not in suites:
            continue
        old, new = _paired(rows(before, name), rows(after, name))
        for metric in suites[name].metrics:
            first, second = metric.values(old), metric.values(new)
            both = ~np.isnan(first).any(axis=1) & ~np.isnan(second).any(axis=1)
            if metric.better != "neither" and both.any():
                pairs.append((name, metric, first[both], second[both]))
    if not pairs:
        raise ConfigError(f"{before} and {after} have no case in common")
    # A measurement is not one of many cases, and has no luck of the draw.
    least = [0.0 if suites[name].repeats else _least_p(first, second) for name, _, first, second in pairs]
    error = _tarone(least)
    found = []
    for (name, metric, first, second), p in zip(pairs, least, strict=True):
        change, low, high = gain(first, second, metric.statistic, 1 - error, RESAMPLES, seed)
        verdict: Verdict = "no difference shown"
        if (low > 0 or high < 0) and p <= error and abs(change) >= threshold:
            verdict = "better" if (change > 0) == (metric.better == "higher") else "worse"
        found.append(
            Difference(
                name, metric.name, float(metric.statistic(first)), float(metric.statistic(second)), low, high, len(first),
                metric.headline, verdict,
            )
        )  # fmt: skip
    order = {"worse": 0, "better": 1, "no difference shown": 2}
    return sorted(found, key=lambda d: (order[d.verdict], not d.headline))


def _least_p(first: Values, second: Values) -> float:
    """The least p that a sign test of the pairs can have."""
    return float(min(1.0, 2.0 ** (1 - int((first != second).any(axis=1).sum()))))


def _tarone(least: Sequence[float]) -> float:
    """Each figure's share of α: α / k with the least k that is no less than the number of figures that can reach it."""
    return next(ALPHA / k for k in range(1, len(least) + 1) if sum(p <= ALPHA / k for p in least) <= k)


def _paired(before: Sequence[Row], after: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    there = {row["id"]: row for row in after}
    common = [row for row in before if row["id"] in there]
    return common, [there[row["id"]] for row in common]
