"""The client against a scripted wire: streaming, cancelling, and errors one can act on."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from core.errors import ServingError
from core.types import Message, Usage
from serving.client import ChatClient, Endpoint
from serving.connect import connect
from tests import wire

HELLO = [Message("user", "hello")]


def test_complete_and_stream_agree() -> None:
    with wire.model_server(lambda _: "one two three four") as (url, requests):
        client = ChatClient(Endpoint(base_url=url, model="scripted"))
        whole = client.complete(HELLO, schema={"type": "object"}, stop=["\n"])
        parts = list(client.stream(HELLO))
    assert whole.text == "".join(p.text for p in parts) == "one two three four"
    assert whole.finish_reason == "stop" and whole.usage == Usage(7, 4)
    assert requests[0]["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert requests[0]["stop"] == ["\n"]


def test_a_silent_server_is_given_up_after_the_timeout() -> None:
    def slow(_: dict[str, object]) -> str:
        time.sleep(20)
        return "late"

    with wire.model_server(slow) as (url, _):
        client = ChatClient(Endpoint(base_url=url, model="scripted", max_retries=0, read_timeout_s=3))
        started = time.monotonic()
        with pytest.raises(ServingError, match="no answer within 3 s"):
            list(client.stream(HELLO))
        assert time.monotonic() - started < 15


def test_cancel_in_mid_stream() -> None:
    cancel = threading.Event()
    with wire.model_server(lambda _: "word " * 500, delay_s=0.02) as (url, _):
        client = ChatClient(Endpoint(base_url=url, model="scripted"))
        seen = ""
        for delta in client.stream(HELLO, cancel=cancel):
            seen += delta.text
            if len(seen) > 50:
                cancel.set()
    assert 50 < len(seen) < 200


def test_cancel_while_the_server_has_not_even_begun_to_answer() -> None:
    def slow(_: dict[str, object]) -> str:
        time.sleep(8)
        return "late"

    cancel = threading.Event()
    with wire.model_server(slow) as (url, _):
        client = ChatClient(Endpoint(base_url=url, model="scripted", max_retries=0))
        threading.Timer(0.5, cancel.set).start()
        started = time.monotonic()
        assert list(client.stream(HELLO, cancel=cancel)) == []
        assert time.monotonic() - started < 7


def test_nobody_there_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    client = ChatClient(Endpoint(base_url=url, model="m", max_retries=0))
    with pytest.raises(ServingError, match=r"cannot be reached\. Start it: python -m serving start"):
        client.complete(HELLO)
    assert not client.healthy()


def test_a_url_connects_to_its_first_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENL_MODEL", raising=False)
    with wire.model_server(lambda _: "hi") as (url, _), connect(url.removesuffix("/v1")) as client:
        assert client.endpoint.model == "scripted"
        assert client.complete(HELLO).text == "hi"
