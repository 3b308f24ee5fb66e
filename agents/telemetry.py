"""Finished traces sent to an OpenTelemetry collector (OTLP over HTTP), named by the GenAI semantic conventions.

https://opentelemetry.io/docs/specs/semconv/gen-ai/ . Sending goes on behind the answer: a collector that is slow or away
costs a learner nothing, and what it has not taken when the tutor closes is lost after a few seconds.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agents.trace import Span, Trace

if TYPE_CHECKING:
    from opentelemetry.context import Context

_TIMEOUT_S = 3


class Exporter:
    """Sends to one collector, in batches of its own thread. `endpoint` is its base URL, like http://localhost:4318."""

    def __init__(self, endpoint: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        url = f"{endpoint.rstrip('/')}/v1/traces"
        self._provider = TracerProvider(resource=Resource.create({"service.name": "genl-tutor"}))
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=_TIMEOUT_S), schedule_delay_millis=1000)
        )
        self._tracer = self._provider.get_tracer("agents")

    def send(self, trace: Trace, model: str, conversation: str = "") -> None:
        """Queues one run: a span for the whole of it, and below it one for each step, model call and tool call."""

        def nanoseconds(ms: float) -> int:
            return int((trace.started_at + ms / 1000) * 1e9)

        from opentelemetry.trace import set_span_in_context

        end = trace.elapsed_ms()
        about = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "tutor", "gen_ai.request.model": model}
        if conversation:
            about["gen_ai.conversation.id"] = conversation
        whole = self._tracer.start_span("invoke_agent tutor", start_time=nanoseconds(0), attributes=about)
        above: list[tuple[float, Context]] = [(end, set_span_in_context(whole))]
        for span in trace.spans:
            # Spans come in the order they began, and one that began within another ended within it.
            while len(above) > 1 and span.start_ms >= above[-1][0]:
                above.pop()
            name, attributes = _described(span, model)
            made = self._tracer.start_span(
                name, context=above[-1][1], start_time=nanoseconds(span.start_ms), attributes=attributes
            )
            made.end(nanoseconds(span.start_ms + span.ms))
            above.append((span.start_ms + span.ms, set_span_in_context(made)))
        whole.end(nanoseconds(end))

    def close(self) -> None:
        """Sends what is queued, as far as the collector takes it."""
        self._provider.force_flush(1000 * _TIMEOUT_S)
        self._provider.shutdown()


def _described(span: Span, model: str) -> tuple[str, dict[str, Any]]:
    """A span's name and attributes; details without a conventional name get one of ours."""
    detail = dict(span.detail)
    attributes: dict[str, Any] = {}
    if span.kind == "model":
        name = f"chat {model}"
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model,
            "gen_ai.usage.input_tokens": detail.pop("prompt_tokens", 0),
            "gen_ai.usage.output_tokens": detail.pop("completion_tokens", 0),
            "gen_ai.input.messages": _messages(detail.pop("prompt", [])),
            "gen_ai.output.messages": _messages([{"role": "assistant", "content": detail.pop("reply", "")}]),
            "genl.purpose": span.name,
        }
    elif span.kind == "tool":
        name = f"execute_tool {span.name}"
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": span.name,
            "gen_ai.tool.call.arguments": json.dumps(detail.pop("arguments", {}), ensure_ascii=False),
            "gen_ai.tool.call.result": str(detail.pop("result", "")),
        }
    else:
        name = span.name
    if "error" in detail:
        attributes["error.type"] = str(detail.pop("error")).split(":")[0]
    return name, attributes | {
        f"genl.{key}": value if isinstance(value, bool | int | float) else str(value) for key, value in detail.items()
    }


def _messages(given: list[dict[str, str]]) -> str:
    return json.dumps(
        [{"role": m["role"], "parts": [{"type": "text", "content": m["content"]}]} for m in given], ensure_ascii=False
    )
