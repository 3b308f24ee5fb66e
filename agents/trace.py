"""What a run did: each step, model call and tool call with its time, tokens, prompt and outcome."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["step", "model", "tool"]


@dataclass(slots=True)
class Span:
    """One thing that took time; `start_ms` counts from the run's begin."""

    kind: Kind
    name: str
    start_ms: float
    ms: float = 0.0
    detail: dict[str, Any] = field(default_factory=dict)


class Trace:
    """The spans of one run, in the order they began."""

    def __init__(self, question: str) -> None:
        self.question, self.started_at = question, time.time()
        self._zero = time.perf_counter()
        self.spans: list[Span] = []

    @contextmanager
    def span(self, kind: Kind, name: str, **detail: Any) -> Iterator[Span]:
        """Times what happens within; an error is noted and goes on."""
        span = Span(kind, name, self.elapsed_ms(), detail=detail)
        self.spans.append(span)
        try:
            yield span
        except Exception as error:
            span.detail["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            span.ms = self.elapsed_ms() - span.start_ms

    def elapsed_ms(self) -> float:
        """Milliseconds since the run began."""
        return (time.perf_counter() - self._zero) * 1000

    def count(self, kind: Kind) -> int:
        """How many spans of a kind there are."""
        return sum(span.kind == kind for span in self.spans)

    def tools(self) -> list[str]:
        """The tools that ran, in order."""
        return [span.name for span in self.spans if span.kind == "tool"]

    def to_row(self) -> dict[str, Any]:
        """The trace as plain JSON values."""
        return {
            "question": self.question,
            "started_at": self.started_at,
            "ms": round(self.elapsed_ms(), 1),
            "spans": [asdict(s) | {"start_ms": round(s.start_ms, 1), "ms": round(s.ms, 1)} for s in self.spans],
        }
