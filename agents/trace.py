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


def export(trace: Trace, endpoint: str) -> None:
    """Sends a finished trace to an OpenTelemetry collector (OTLP over HTTP), by the GenAI semantic conventions."""
    from opentelemetry import trace as api
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "genl-tutor"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    tracer = provider.get_tracer("agents")

    def nanoseconds(ms: float) -> int:
        return int((trace.started_at + ms / 1000) * 1e9)

    operation = {"model": "chat", "tool": "execute_tool", "step": "invoke_agent"}
    whole = tracer.start_span("invoke_agent tutor", start_time=nanoseconds(0))
    for span in trace.spans:
        made = tracer.start_span(
            f"{operation[span.kind]} {span.name}",
            context=api.set_span_in_context(whole),
            start_time=nanoseconds(span.start_ms),
            attributes={"gen_ai.operation.name": operation[span.kind]}
            | {f"genl.{k}": v if isinstance(v, int | float | bool) else str(v) for k, v in span.detail.items()},
        )
        made.end(nanoseconds(span.start_ms + span.ms))
    whole.end(nanoseconds(trace.elapsed_ms()))
    provider.shutdown()
