"""Two results side by side: what got worse, what got better, and where no difference is shown.

The same cases of both are paired, and the interval of the difference is drawn over them. With many figures some
differences would look sure by luck: the interval's level is 1 − 0.05 / number of figures (Bonferroni), so that of a
hundred comparisons of a thing with itself at most five raise any alarm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core import files
from core.errors import ConfigError
from eval.metrics import applies, gain
from eval.suite import Metric, Row, Suite

Verdict = Literal["worse", "better", "no difference shown"]
RESAMPLES = 5000


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
    """A run's `result.json`. ConfigError where there is none."""
    try:
        found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(
            f"{folder}: no result of a run there. Make one: python -m eval run SUITE --out {folder}"
        ) from None
    return found


def rows(folder: Path, suite: str) -> list[Row]:
    """A run's rows of one suite; none where it has no such suite."""
    path = folder / "rows" / f"{suite}.jsonl"
    return [row for _, row in files.read_jsonl(path)] if path.exists() else []


def compare(
    suites: Mapping[str, Suite], before: Path, after: Path, threshold: float = 0.0, seed: int = 0
) -> list[Difference]:
    """The differences of all figures that both runs have, worse ones first. A smaller one than `threshold` is none."""
    pairs: list[tuple[str, Metric, list[Row], list[Row]]] = []
    for name in read(before)["suites"]:
        if name not in suites:
            continue
        old, new = _paired(rows(before, name), rows(after, name))
        if old:
            pairs += [(name, metric, old, new) for metric in suites[name].metrics if metric.better != "neither"]
    if not pairs:
        raise ConfigError(f"{before} and {after} have no case in common")
    level = 1 - 0.05 / len(pairs)
    found = []
    for name, metric, old, new in pairs:
        first, second = metric.values(old), metric.values(new)
        change, low, high = gain(first, second, metric.statistic, level, RESAMPLES, seed)
        verdict: Verdict = "no difference shown"
        if (low > 0 or high < 0) and abs(change) >= threshold:
            verdict = "better" if (change > 0) == (metric.better == "higher") else "worse"
        found.append(
            Difference(
                name, metric.name, float(metric.statistic(first)), float(metric.statistic(second)), low, high, applies(first),
                metric.headline, verdict,
            )
        )  # fmt: skip
    order = {"worse": 0, "better": 1, "no difference shown": 2}
    return sorted(found, key=lambda d: (order[d.verdict], not d.headline))


def _paired(before: Sequence[Row], after: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    there = {row["id"]: row for row in after}
    common = [row for row in before if row["id"] in there]
    return common, [there[row["id"]] for row in common]
