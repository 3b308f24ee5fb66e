"""What a suite is: cases, a way to run one, and metrics over what came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from core.errors import ConfigError, DocumentError
from eval.metrics import Statistic, Values, mean

if TYPE_CHECKING:
    from rag.retriever import Retriever
    from serving.client import ChatClient

Case = Mapping[str, Any]  # `id`, `group`, and all that its result depends on
T = TypeVar("T")
Row = dict[str, Any]  # `id`, `group`, `scores` {column: number or None}, `shown`: what explains them


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a suite: a statistic over columns of its rows' scores.

    `interval` is off where resampling tells nothing: a test's p, or a distance from a target, which every draw lengthens.
    `judged` is one that rests on a judge's word. `stage` names the step of a pipeline whose figure it is: a report draws
    the stages of a suite beside each other.
    """

    name: str
    columns: tuple[str, ...]
    statistic: Statistic = mean
    better: Literal["higher", "lower", "neither"] = "higher"
    headline: bool = False
    unit: str = ""
    interval: bool = True
    judged: bool = False
    stage: str = ""

    def values(self, rows: Sequence[Row]) -> Values:
        """The columns of all rows, `[n, columns]`; NaN where one does not apply."""
        found = [[row["scores"].get(name) for name in self.columns] for row in rows]
        return np.array([[np.nan if v is None else float(v) for v in line] for line in found], float).reshape(
            len(rows), len(self.columns)
        )


def metric(name: str, column: str = "", **given: Any) -> Metric:
    """The mean of one column, which has the metric's name unless another is given."""
    return Metric(name, (column or name,), **given)


@dataclass(frozen=True, slots=True)
class Suite:
    """`prepare` opens what running needs and gives the function that runs one case.

    `worst` gives the scores of a case that could not be run: it counts as a failure, never as absent. Suites that run
    cases alike keep their rows under one name, `kept_as`. `needs` is any of model, index, judge (the model where no other
    is given), and data where the suite has no cases of its own. `takes` names the options that its rows depend on, a
    judge among them where one may be given. `repeats` is for measurements: taken anew in every run, one after the other.
    `exports` gives files for other tools, by name, from the rows.
    """

    name: str
    title: str
    about: str
    metrics: tuple[Metric, ...]
    cases: Callable[[Bench], list[Case]]
    prepare: Callable[[Bench], Callable[[Case], Row]]
    worst: Callable[[Case], Mapping[str, float]]
    needs: frozenset[str] = frozenset({"model", "index"})
    repeats: bool = False
    kept_as: str = ""
    takes: frozenset[str] = frozenset()
    exports: Callable[[Sequence[Row]], Mapping[str, str]] | None = None

    @property
    def asks(self) -> bool:
        """Whether a model has a part in it."""
        return bool(self.needs & {"model", "judge"})


class Bench:
    """What suites are run with: an index, a model, a judge, how much of the cases."""

    def __init__(
        self,
        index: Path,
        client: ChatClient | None,
        *,
        judge: ChatClient | None = None,
        quick: bool = False,
        limit: int | None = None,
        data: Mapping[str, Path] | None = None,
        options: Mapping[str, Any] | None = None,
        concurrency: int = 1,
        seed: int = 0,
    ) -> None:
        self.index, self._client, self._judge = index, client, judge
        self.quick, self.limit, self.concurrency, self.seed = quick, limit, concurrency, seed
        self.data, self.options = dict(data or {}), dict(options or {})

    @property
    def client(self) -> ChatClient:
        """The model's; ConfigError where there is none."""
        if self._client is None:
            raise ConfigError("this suite needs a model. Start one: python -m serving start, or give --model")
        return self._client

    @property
    def judge(self) -> ChatClient:
        """The judge's, or the model's where no judge was given; ConfigError where there is neither."""
        return self._judge or self.client

    @property
    def has_model(self) -> bool:
        """Whether a model is there to be asked."""
        return self._client is not None

    @property
    def has_judge(self) -> bool:
        """Whether a judge was given."""
        return self._judge is not None

    def healthy(self) -> bool:
        """Whether the model and the judge, such as there are, answer."""
        return all(client.healthy() for client in (self._client, self._judge) if client is not None)

    @cached_property
    def retriever(self) -> Retriever:
        """The open index; ConfigError where there is none."""
        from rag.retriever import Retriever

        check_index(self.index)
        return Retriever.open(self.index)

    def take(self, cases: Sequence[Case], quick: int) -> list[Case]:
        """At most `limit` of each group, or in the quick form so many in all, spread evenly over them."""
        if self.limit is not None:
            by_group: dict[Any, list[Case]] = {}
            for case in cases:
                by_group.setdefault(case["group"], []).append(case)
            return [case for mine in by_group.values() for case in spread(mine, self.limit)]
        return list(spread(cases, quick if self.quick else None))


def spread(items: Sequence[T], limit: int | None) -> Sequence[T]:
    """At most `limit` of the items, evenly spread over them."""
    if limit is None or len(items) <= limit:
        return items
    return [items[n * len(items) // limit] for n in range(limit)]


def checked(row: Row, where: str, **wanted: type) -> Row:
    """A row of a file with fields of these types; DocumentError that names the field otherwise."""
    for name, kind in wanted.items():
        if not isinstance(row.get(name), kind):
            raise DocumentError(f"{where}: `{name}` must be a {kind.__name__}, but is {row.get(name)!r:.60}")
    return row


def check_index(index: Path) -> None:
    """ConfigError where no index is."""
    if not index.exists():
        raise ConfigError(f"{index}: no index there. Run: python -m rag build --source data/corpus --index {index}")
