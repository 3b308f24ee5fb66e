"""Traces as a collector receives them, and a collector that is away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.tutor import Tutor

Make = Callable[..., Tutor]


@contextmanager
def _collector(delay_s: float = 0.0) -> Iterator[tuple[str, list[Any]]]:
    """OTLP over HTTP, decoded with the protocol's own messages."""
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(delay_s)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", spans
    finally:
        server.shutdown()
        server.server_close()


def _script(body: dict[str, Any]) -> str:
    if "You plan" in body["messages"][0]["content"]:
        return json.dumps({"steps": [{"tool": "search_notes", "query": "LoRA"}]})
    return "LoRA freezes the base model and trains two small matrices of rank r beside each weight matrix. [1]"


def test_a_collector_gets_the_run_as_a_tree_of_spans(tutor: Make) -> None:
    with _collector() as (url, spans):
        made = tutor(_script, otlp_endpoint=url)
        done = made.ask("How does LoRA train a model?", thread="t")
        made.close()
        assert len(spans) == 1 + len(done.trace.spans)
    by_id = {s.span_id: s for s in spans}
    root = next(s for s in spans if not s.parent_span_id)
    assert root.name == "invoke_agent tutor" and len({s.trace_id for s in spans}) == 1
    chats = [s for s in spans if s.name == "chat scripted"]
    assert [by_id[s.parent_span_id].name for s in chats] == ["decide", "answer"]
    kept = {a.key: a.value for a in chats[1].attributes}
    assert (
        kept["gen_ai.usage.input_tokens"].int_value == 7
        and "two small matrices" in kept["gen_ai.output.messages"].string_value
    )
    tool = next(s for s in spans if s.name == "execute_tool search_notes")
    assert json.loads({a.key: a.value.string_value for a in tool.attributes}["gen_ai.tool.call.arguments"]) == {
        "query": "LoRA"
    }
    for span in spans:
        assert (
            root.start_time_unix_nano
            <= span.start_time_unix_nano
            <= span.end_time_unix_nano
            <= root.end_time_unix_nano + 10**6
        )


def test_a_collector_that_is_away_or_slow_costs_the_learner_nothing(tutor: Make) -> None:
    tutor(_script).ask("How does LoRA train a model?")  # loads what is loaded once
    for url in ("http://127.0.0.1:9", None):
        with _collector(delay_s=6.0) as (slow, _):
            made = tutor(_script, otlp_endpoint=url or slow)
            started = time.monotonic()
            assert not made.ask("How does LoRA train a model?").answer.refused
            assert time.monotonic() - started < 5.5  # a busy machine takes half of that; the collector would take 6
            made.close()
            assert time.monotonic() - started < 15
