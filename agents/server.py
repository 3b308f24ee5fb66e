"""The tutor as an OpenAI-compatible endpoint, for any client that speaks `/v1/chat/completions`.

Answers are sent once they are checked, so a stream never holds a sentence that is taken back; until then it carries
the steps as comments. Beyond OpenAI's fields a reply has `citations`, `refused` and `sources`. A request may name a
kept conversation in `metadata.thread`; without it the messages sent are the conversation. `user` names the learner
within the key's own space, so that no key sees another key's threads.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from agents.errors import AgentError
from agents.tutor import Finished, Tutor
from core.errors import GenlError, ServingError
from core.types import Answer, Message
from rag.answering import Stage
from rag.asking import to_row

if TYPE_CHECKING:
    from starlette.responses import Response

MODEL = "genl-tutor"


class Part(BaseModel):
    """A part of a message's content; only text is read."""

    type: str
    text: str = ""


class Turn(BaseModel):
    """One message of the request."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "\n".join(p.text for p in self.content)


class StreamOptions(BaseModel):
    """OpenAI's `stream_options`."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """What is read of OpenAI's request; other fields (temperature, …) are accepted and do nothing."""

    messages: list[Turn] = Field(min_length=1)
    model: str = MODEL
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    user: str = "me"
    metadata: dict[str, str] = Field(default_factory=dict)


class Refused(Exception):
    """A request answered with OpenAI's error object."""

    def __init__(
        self, status: int, kind: str, message: str, code: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.code, self.headers = status, kind, code, headers or {}


def application(tutor: Tutor, api_keys: tuple[str, ...], requests_per_minute: int) -> FastAPI:
    """The endpoint over a tutor. Without keys anyone who reaches the port may ask."""
    from limits import RateLimitItemPerMinute
    from limits.storage import MemoryStorage
    from limits.strategies import MovingWindowRateLimiter

    app = FastAPI(title="GenL Tutor", docs_url=None, redoc_url=None)
    window, limiter = RateLimitItemPerMinute(requests_per_minute), MovingWindowRateLimiter(MemoryStorage())

    def caller(request: Request) -> str:
        """Whose key it is; Refused without a valid one, or with too many requests."""
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if api_keys and not any(hmac.compare_digest(given.encode(), key.encode()) for key in api_keys):
            raise Refused(
                401, "invalid_request_error", "Incorrect API key. Send Authorization: Bearer KEY", "invalid_api_key"
            )
        name = (
            hashlib.sha256(given.encode()).hexdigest()[:12]
            if api_keys
            else (request.client.host if request.client else "")
        )
        if not limiter.hit(window, name):
            wait = max(1, round(limiter.get_window_stats(window, name).reset_time - time.time()))
            raise Refused(429, "rate_limit_error", f"Rate limit of {requests_per_minute} requests a minute reached. Try again in {wait} s",
                          "rate_limit_exceeded", {"Retry-After": str(wait)})  # fmt: skip
        return name if api_keys else "open"

    @app.exception_handler(Refused)
    async def _refused(_: Request, error: Refused) -> Response:
        return JSONResponse(_error(str(error), error.kind, error.code), error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return JSONResponse(_error(f"{where or 'body'}: {first['msg']}", "invalid_request_error", "", where), 400)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    def models(request: Request) -> dict[str, Any]:
        caller(request)
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "genl-tutor"}]}

    @app.post("/v1/chat/completions")
    async def chat(asked: ChatRequest, request: Request) -> Response:
        who = caller(request)
        if asked.messages[-1].role != "user":
            raise Refused(400, "invalid_request_error", "messages: the last one must be the user's")
        history = [
            Message("user" if m.role == "user" else "assistant", m.text())
            for m in asked.messages[:-1]
            if m.role in ("user", "assistant")
        ]
        cancel = threading.Event()
        events = tutor.stream(
            asked.messages[-1].text(), thread=asked.metadata.get("thread", ""), learner=f"{who}:{asked.user}",
            history=history, cancel=cancel,
        )  # fmt: skip
        made = f"chatcmpl-{uuid.uuid4().hex}"
        if asked.stream:
            return StreamingResponse(_events(events, asked, made, cancel), media_type="text/event-stream")
        answer = await _whole(events, request, cancel)
        message = {"role": "assistant", "content": answer.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return JSONResponse(_body(made, "chat.completion", [choice]) | {"usage": _usage(answer)} | _extension(answer))

    return app


async def _whole(events: Iterator[Any], request: Request, cancel: threading.Event) -> Answer:
    """The run's answer; the run is stopped when the client goes away."""
    import anyio

    found: list[Answer] = []
    failed: list[GenlError] = []

    def work() -> None:
        try:
            found.extend(event.answer for event in events if isinstance(event, Finished))
        except GenlError as error:  # kept: a task group would wrap it, each Python version in its own way
            failed.append(error)

    async def watch(scope: anyio.CancelScope) -> None:
        while not await request.is_disconnected():
            await anyio.sleep(0.5)
        cancel.set()
        scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch, group.cancel_scope)
        await anyio.to_thread.run_sync(work)
        group.cancel_scope.cancel()
    if failed:
        raise _http(failed[0])
    if not found:
        raise Refused(499, "api_error", "the client went away")
    return found[0]


async def _events(events: Iterator[Any], asked: ChatRequest, made: str, cancel: threading.Event) -> AsyncIterator[str]:
    """Server-sent events: steps as comments, the checked answer in pieces, the extension on the last piece."""
    from starlette.concurrency import iterate_in_threadpool

    def piece(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        return _body(
            made, "chat.completion.chunk", [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]
        )

    try:
        yield _data(piece({"role": "assistant", "content": ""}))
        async for event in iterate_in_threadpool(events):
            if isinstance(event, Stage):
                yield f": {event.name}\n\n"
            elif isinstance(event, Finished):
                answer = event.answer
                for word in answer.text.splitlines(keepends=True):
                    yield _data(piece({"content": word}))
                yield _data(piece({}, "stop") | _extension(answer))
                if asked.stream_options.include_usage:
                    yield _data(_body(made, "chat.completion.chunk", []) | {"usage": _usage(answer)})
    except GenlError as error:
        refused = _http(error)
        yield _data(_error(str(refused), refused.kind, refused.code))
    finally:
        cancel.set()  # also when the client has gone away
    yield "data: [DONE]\n\n"


def _http(error: GenlError) -> Refused:
    message = " ".join(str(error).split())
    if isinstance(error, AgentError):
        return Refused(400, "invalid_request_error", message)
    if isinstance(error, ServingError):
        return Refused(503, "api_error", message, "model_unavailable", {"Retry-After": "10"})
    return Refused(500, "api_error", message)


def _body(made: str, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": made, "object": kind, "created": int(time.time()), "model": MODEL, "choices": choices}


def _usage(answer: Answer) -> dict[str, int]:
    u = answer.usage
    return {
        "prompt_tokens": u.prompt_tokens,
        "completion_tokens": u.completion_tokens,
        "total_tokens": u.prompt_tokens + u.completion_tokens,
    }


def _extension(answer: Answer) -> dict[str, Any]:
    row = to_row("", answer)
    return {name: row[name] for name in ("citations", "refused", "reason", "sources")}


def _error(message: str, kind: str, code: str, param: str = "") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param or None, "code": code or None}}


def _data(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
