"""The endpoint through clients not written here: the openai package, and MCP's own client over stdio."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from agents.server import application
from agents.tutor import Tutor
from core.paths import ROOT
from tests.agents.test_tutor import _script, _steps
from tests.wire import model_server

Make = Callable[..., Tutor]
SEARCH = _steps({"tool": "search_notes", "query": "How does LoRA train?"})


@contextmanager
def _served(tutor: Tutor, keys: tuple[str, ...] = ("sk-one", "sk-two"), per_minute: int = 60) -> Iterator[str]:
    import socket

    import uvicorn

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application(tutor, keys, per_minute), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        pass
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join(10)


def test_the_openai_package_streaming_and_not(tutor: Make) -> None:
    with _served(tutor(_script(SEARCH))) as url:
        client = openai.OpenAI(base_url=url, api_key="sk-one", max_retries=0)
        assert [m.id for m in client.models.list().data] == ["genl-tutor"]
        asked = [{"role": "user", "content": "How does LoRA train a model?"}]
        whole = client.chat.completions.create(model="genl-tutor", messages=asked)  # type: ignore[arg-type]
        assert "two small matrices" in (whole.choices[0].message.content or "")
        extra = whole.model_extra or {}
        assert extra["citations"][0]["doc_id"] == "lora.md" and extra["refused"] is False
        assert whole.usage and whole.usage.total_tokens > 0
        text, last = "", None
        stream = client.chat.completions.create(
            model="genl-tutor", messages=asked, stream=True, stream_options={"include_usage": True}  # type: ignore[arg-type]
        )  # fmt: skip
        for chunk in stream:
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
                last = chunk if chunk.choices[0].finish_reason else last
            else:
                assert chunk.usage and chunk.usage.prompt_tokens > 0
        assert text == whole.choices[0].message.content
        assert last is not None and (last.model_extra or {})["citations"][0]["doc_id"] == "lora.md"


def test_keys_errors_and_rate_limits_are_openais(tutor: Make) -> None:
    with _served(tutor(_script(SEARCH)), per_minute=3) as url:
        for key in ("none", "sk-other"):
            answer = httpx.post(f"{url}/chat/completions", json={}, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code in (400, 401) and answer.json()["error"]["message"]
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
            openai.OpenAI(base_url=url, api_key="sk-other", max_retries=0).models.list()
        client = openai.OpenAI(base_url=url, api_key="sk-two", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="last one must be the user"):
            client.chat.completions.create(model="x", messages=[{"role": "assistant", "content": "hi"}])
        with pytest.raises(openai.BadRequestError, match="messages"):
            client.chat.completions.create(model="x", messages=[])
        client.models.list()
        client.models.list()
        with pytest.raises(openai.RateLimitError) as limited:
            client.models.list()
        assert 1 <= int(limited.value.response.headers["retry-after"]) <= 60


def test_threads_of_one_key_are_not_anothers(tutor: Make, understanding: dict[str, Any]) -> None:
    with _served(tutor(_script(SEARCH), **understanding)) as url:

        def ask(key: str, text: str) -> str:
            client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
            given = [{"role": "user", "content": text}]
            reply = client.chat.completions.create(model="x", messages=given, metadata={"thread": "t"}, user="ada")  # type: ignore[arg-type]
            return reply.choices[0].message.content or ""

        assert "Reply with a letter" in ask("sk-one", "quiz me on Triton")
        assert "Right" not in ask("sk-two", "C")
        assert ask("sk-one", "C").startswith("Right")


def test_a_model_that_is_away_gives_503(tutor: Make) -> None:
    made = tutor(_script(SEARCH))
    made.client = made.client.asking("x")
    made.client.endpoint = made.client.endpoint.model_copy(
        update={"base_url": "http://127.0.0.1:9/v1", "max_retries": 0}
    )
    with _served(made) as url:
        client = openai.OpenAI(base_url=url, api_key="sk-one", max_retries=0)
        with pytest.raises(openai.InternalServerError, match="cannot be reached"):
            client.chat.completions.create(model="x", messages=[{"role": "user", "content": "How does LoRA train?"}])


def test_mcps_own_client_over_stdio(tutor: Make, toy_index: Path) -> None:
    import anyio
    from mcp import StdioServerParameters
    from mcp.client import Client

    made = tutor(_script(SEARCH))
    made.close()
    with model_server(_script(SEARCH)) as (url, _):
        command = StdioServerParameters(
            command=sys.executable,
            args=["-m", "agents", "mcp", "--index", str(toy_index), "--model", url,
                  "--set", f"bank={made.settings.bank}", "--set", f"threads={made.settings.threads}",
                  "--set", f"learners={made.settings.learners}", "--set", "intent_examples=null"],
            cwd=ROOT,
        )  # fmt: skip

        async def talk() -> tuple[list[str], dict[str, object], str]:
            async with Client(command) as client:
                names = [tool.name for tool in (await client.list_tools()).tools]
                asked = await client.call_tool("ask_tutor", {"question": "How does LoRA train a model?"})
                summed = await client.call_tool("calculate", {"expression": "7e9 * 2 B"})
                return names, json.loads(asked.content[0].text), summed.content[0].text  # type: ignore[union-attr]

        names, asked, summed = anyio.run(talk)
    assert {"ask_tutor", "search_notes", "practice_question", "calculate", "gpu_memory"} <= set(names)
    assert asked["refused"] is False and asked["citations"] and "14 GB" in summed
