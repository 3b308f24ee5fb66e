"""The one client: chat over OpenAI's protocol, against vLLM or any other endpoint that speaks it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from core.config import Settings
from core.errors import ServingError
from core.types import Message, Usage, wire

if TYPE_CHECKING:
    from openai import OpenAI


class Endpoint(Settings):
    """Where the model answers. `base_url` ends in `/v1`; times are seconds."""

    base_url: str
    model: str
    api_key: str = "none"
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 300.0
    max_retries: int = 2


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole reply."""

    text: str
    finish_reason: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed reply; the last ones carry the finish reason and the usage."""

    text: str
    finish_reason: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """Log-probability of each choice, normalised over the choices."""

    logprobs: Mapping[str, float]
    usage: Usage

    @property
    def best(self) -> str:
        """The likeliest choice."""
        return max(self.logprobs, key=lambda choice: self.logprobs[choice])


class ChatClient:
    """Talks to one endpoint. Safe to share between threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @cached_property
    def _openai(self) -> OpenAI:
        from openai import OpenAI, Timeout

        e = self.endpoint
        timeout = Timeout(e.read_timeout_s, connect=e.connect_timeout_s)
        return OpenAI(base_url=e.base_url, api_key=e.api_key, max_retries=e.max_retries, timeout=timeout)

    def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        schema: Mapping[str, object] | None = None,
        stop: Sequence[str] = (),
        cancel: threading.Event | None = None,
    ) -> Completion:
        """The whole reply; streamed underneath, so that a set `cancel` stops the model. Raises ServingError."""
        text, reason, usage = "", "stop", Usage()
        for delta in self.stream(
            messages, max_tokens=max_tokens, temperature=temperature, schema=schema, stop=stop, cancel=cancel
        ):
            text += delta.text
            reason = delta.finish_reason or reason
            usage = delta.usage or usage
        return Completion(text, reason, usage)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        schema: Mapping[str, object] | None = None,
        stop: Sequence[str] = (),
        cancel: threading.Event | None = None,
    ) -> Iterator[Delta]:
        """The reply as it is written. Setting `cancel` or closing the iterator hangs up, and the server stops writing.

        `schema` constrains the reply to a JSON schema. Raises ServingError when the server cannot be reached, answers
        with an error, or hangs up before the end.
        """
        extra: dict[str, Any] = {}
        if schema is not None:
            extra["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "schema": dict(schema), "strict": True},
            }
        if stop:
            extra["stop"] = list(stop)
        finished = False
        with self._errors():
            response = _unless(
                cancel,
                partial(
                    self._openai.chat.completions.create,
                    model=self.endpoint.model,
                    messages=cast(Any, wire(messages)),
                    max_tokens=max_tokens,
                    temperature=temperature,
                    stream=True,
                    stream_options={"include_usage": True},
                    **extra,
                ),
            )
            if response is None:
                return
            with response, _hang_up(response, cancel):
                try:
                    for chunk in response:
                        if cancel is not None and cancel.is_set():
                            return
                        usage = chunk.usage
                        choice = chunk.choices[0] if chunk.choices else None
                        finished = finished or bool(choice and choice.finish_reason)
                        yield Delta(
                            (choice.delta.content or "") if choice else "",
                            choice.finish_reason if choice else None,
                            Usage(usage.prompt_tokens, usage.completion_tokens) if usage else None,
                        )
                except Exception:
                    if cancel is not None and cancel.is_set():
                        return
                    raise
        if not finished and not (cancel is not None and cancel.is_set()):
            raise ServingError(
                f"{self.endpoint.base_url}: the model server hung up in mid-answer. Ask again in a moment"
            )

    def choose(self, messages: Sequence[Message], choices: Sequence[str]) -> Choices:
        """How likely each choice is as the reply's first token. Raises ServingError.

        Choices must differ in their first token (letters do). One that is not among the server's top 20 gets the
        lowest of those, so the result stays finite.
        """
        with self._errors():
            reply = self._openai.chat.completions.create(
                model=self.endpoint.model,
                messages=cast(Any, wire(messages)),
                max_tokens=1,
                temperature=0.0,
                logprobs=True,
                top_logprobs=20,
            )
        logprobs = reply.choices[0].logprobs
        if logprobs is None or not logprobs.content:
            raise ServingError(f"{self.endpoint.base_url}: this endpoint gives no log-probabilities")
        top = logprobs.content[0].top_logprobs
        floor = min(t.logprob for t in top)
        found = {c: max((t.logprob for t in top if t.token.strip() == c.strip()), default=floor) for c in choices}
        total = math.log(sum(math.exp(v) for v in found.values()))
        usage = Usage(reply.usage.prompt_tokens, reply.usage.completion_tokens) if reply.usage else Usage()
        return Choices({choice: value - total for choice, value in found.items()}, usage)

    def asking(self, model: str) -> ChatClient:
        """A client for another model of the same endpoint: an adapter, say."""
        return ChatClient(self.endpoint.model_copy(update={"model": model}))

    def models(self) -> list[str]:
        """The names the endpoint serves, the base first. Raises ServingError."""
        with self._errors():
            quick = self._openai.with_options(timeout=self.endpoint.connect_timeout_s, max_retries=0)
            return [model.id for model in quick.models.list().data]

    def card(self) -> dict[str, Any]:
        """What the endpoint says of the model beside its name (vLLM: `root`, the weights' place, and `parent`). Raises ServingError."""
        with self._errors():
            quick = self._openai.with_options(timeout=self.endpoint.connect_timeout_s, max_retries=0)
            found = next((m for m in quick.models.list().data if m.id == self.endpoint.model), None)
        if found is None:
            raise ServingError(f"{self.endpoint.base_url}: serves no model {self.endpoint.model!r}")
        row = found.to_dict()
        return {key: row[key] for key in ("id", "root", "parent", "max_model_len") if row.get(key) is not None}

    def healthy(self) -> bool:
        """Whether the endpoint lists its models within the connect timeout."""
        try:
            self._openai.with_options(timeout=self.endpoint.connect_timeout_s, max_retries=0).models.list()
        except Exception:  # whatever is wrong, it is not healthy
            return False
        return True

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import openai

        url = self.endpoint.base_url
        try:
            yield
        except openai.APITimeoutError as error:
            raise ServingError(
                f"{url}: no answer within {self.endpoint.read_timeout_s:.0f} s. Is the model overloaded?"
            ) from error
        except openai.APIConnectionError as error:
            raise ServingError(
                f"{url}: cannot be reached. Start it: python -m serving start, or check the URL"
            ) from error
        except openai.APIStatusError as error:
            said = error.body.get("message") if isinstance(error.body, dict) else None
            raise ServingError(
                f"{url}: HTTP {error.status_code}: {' '.join(str(said or error.message).split())[:300]}"
            ) from error
        except openai.APIError as error:
            raise ServingError(
                f"{url}: the model server broke off ({type(error).__name__}). Ask again in a moment"
            ) from error


def _unless(cancel: threading.Event | None, call: Callable[[], Any]) -> Any:
    """What `call` returns; None as soon as `cancel` is set, and then a late response is closed unread."""
    if cancel is None:
        return call()
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # handed to whoever waits
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    while not cancel.is_set():
        if wait([future], timeout=0.05).done:
            return future.result()
    future.add_done_callback(lambda late: None if late.exception() else late.result().close())
    return None


@contextmanager
def _hang_up(response: Any, cancel: threading.Event | None) -> Iterator[None]:
    """Closes the connection as soon as `cancel` is set, also while the server is still reading the prompt."""
    if cancel is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            if cancel.is_set():
                _shut(response)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _shut(response: Any) -> None:
    """Shuts the socket down, which wakes the thread that is reading it; closing alone would leave it waiting."""
    import socket

    raw = response.response.extensions.get("network_stream")
    sock = raw.get_extra_info("socket") if raw is not None else None
    try:
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # already closed
