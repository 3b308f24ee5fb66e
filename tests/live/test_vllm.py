"""The client and the supervisor against real vLLM on the 135M model."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from core.types import Message
from serving.client import ChatClient

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


def test_it_streams_and_counts_tokens(client: ChatClient) -> None:
    deltas = list(client.stream([Message("user", "Count from one to ten.")], max_tokens=30))
    assert sum(bool(d.text) for d in deltas) > 5
    assert deltas[-1].usage is not None and 1 < deltas[-1].usage.completion_tokens <= 30


def test_a_schema_binds_even_this_model(client: ChatClient) -> None:
    schema = {
        "type": "object",
        "properties": {"route": {"enum": ["answer", "search"]}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["route", "n"],
        "additionalProperties": False,
    }
    reply = client.complete([Message("user", "Decide.")], schema=schema, max_tokens=60)
    assert json.loads(reply.text)["route"] in ("answer", "search")


def test_choices_are_a_distribution(client: ChatClient) -> None:
    import math

    found = client.choose([Message("user", "Reply with one letter, A or B.")], ["A", "B"]).logprobs
    assert sum(math.exp(v) for v in found.values()) == pytest.approx(1.0)


def test_cancel_frees_the_server(client: ChatClient) -> None:
    import httpx

    cancel = threading.Event()
    threading.Timer(1.0, cancel.set).start()
    list(client.stream([Message("user", "Write a very long story.")], max_tokens=3000, cancel=cancel))
    url = client.endpoint.base_url.removesuffix("/v1") + "/metrics"
    deadline = time.monotonic() + 20
    while True:
        lines = [m for m in httpx.get(url).text.splitlines() if m.startswith("vllm:num_requests_running")]
        if lines and all(float(line.rsplit(" ", 1)[1]) == 0 for line in lines):
            break
        assert time.monotonic() < deadline, lines
        time.sleep(0.2)


def test_vllm_s_bench_measures_it(client: ChatClient, tmp_path: Path) -> None:
    from eval import running
    from eval.suite import Bench
    from eval.suites import SUITES

    bench = Bench(tmp_path, client, quick=True, options={"concurrencies": (2,), "price_per_hour": 0.4})
    found = running.run([SUITES["speed"]], bench, tmp_path / "out")["suites"]["speed"]
    assert found["errors"] == 0
    figures = {name: figure["value"] for name, figure in found["metrics"].items()}
    assert figures["failed requests"] == 0 and figures["tokens/s written"] > 0 and figures["cost of 1,000 answers"] > 0
    assert figures["TTFT, p99"] >= figures["TTFT, median"] > figures["inter-token latency, median"] > 0
