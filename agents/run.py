"""One run: its bounds, its trace, what its tools found. Held beside the graph's state, which is only what a thread keeps."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agents.config import Limits
from agents.decide import Call
from agents.parts import Part
from agents.toolbox import Desk
from agents.tools.finding import Finding
from agents.trace import Trace
from core.errors import GenlError
from core.types import Document, Message, Usage, wire
from serving.client import ChatClient, Choices, Delta

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from agents.guard import Guard
    from rag.answering import Answerer


class LimitReached(GenlError):
    """A bound of the run is reached: it ends with what it has."""


@dataclass(slots=True)
class Run:
    """The context every node of the graph is given."""

    desk: Desk
    client: Metered
    answerer: Answerer
    tools: Mapping[str, BaseTool]
    limits: Limits
    turns_kept: int
    guard: Guard
    always_decide: bool
    trace: Trace
    cancel: threading.Event
    findings: list[Finding] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    trouble: list[str] = field(default_factory=list)
    waiting: list[Call] = field(default_factory=list)
    searched: list[str] = field(default_factory=list)
    intent: str = ""  # what the message asks for, where the classifier is sure
    parts: Sequence[Part] = ()  # the questions of a message of several, one search each
    documents: dict[str, Document] = field(default_factory=dict)  # tool results that an answer may cite

    def take(self, call: Call) -> None:
        """Counts a tool call. LimitReached for one too many, and for the same call again."""
        if call.key() in self.done:
            raise LimitReached(f"{call.tool} was called with the same arguments before")
        if len(self.done) >= self.limits.tool_calls:
            raise LimitReached(f"more than {self.limits.tool_calls} tool calls")
        self.done.add(call.key())


class Metered(ChatClient):
    """A client that counts, times and traces its calls, and stops at the run's bounds."""

    def __init__(self, client: ChatClient, limits: Limits, trace: Trace, cancel: threading.Event) -> None:
        super().__init__(client.endpoint)
        self._limits, self.trace, self._cancel = limits, trace, cancel
        self._until = time.monotonic() + limits.seconds
        self.purpose = "model"
        self.usage = Usage()
        self.out_of_time = False

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
        """As ChatClient's; the run's own cancel counts, and the end of its time sets off the same."""
        left = self._seconds_left()
        over = _Either(self._cancel, cancel or self._cancel)
        timer = threading.Timer(left, self._expire, [over])
        timer.daemon = True
        timer.start()
        text, usage = "", Usage()
        try:
            with self.trace.span("model", self.purpose, prompt=wire(messages)) as span:
                try:
                    for delta in super().stream(
                        messages, max_tokens=max_tokens, temperature=temperature, schema=schema, stop=stop, cancel=over
                    ):
                        text += delta.text
                        usage = delta.usage or usage
                        yield delta
                finally:
                    span.detail |= {
                        "reply": text,
                        "prompt_tokens": usage.prompt_tokens,
                        "completion_tokens": usage.completion_tokens,
                    }
        finally:
            timer.cancel()
            self.usage += usage
        if self.out_of_time:
            raise LimitReached(f"more than {self._limits.seconds:.0f} s")

    def choose(self, messages: Sequence[Message], choices: Sequence[str]) -> Choices:
        """As ChatClient's, within the same bounds."""
        self._seconds_left()
        with self.trace.span("model", self.purpose, prompt=wire(messages)) as span:
            found = super().choose(messages, choices)
            span.detail |= {
                "reply": ", ".join(f"{choice} {math.exp(value):.2f}" for choice, value in found.logprobs.items()),
                "prompt_tokens": found.usage.prompt_tokens,
                "completion_tokens": found.usage.completion_tokens,
            }
        self.usage += found.usage
        return found

    @property
    def calls_left(self) -> int:
        """How many calls the bounds still allow."""
        return self._limits.model_calls - self.trace.count("model")

    def _seconds_left(self) -> float:
        """Raises LimitReached when another call would pass a bound."""
        if self.calls_left <= 0:
            raise LimitReached(f"more than {self._limits.model_calls} model calls")
        left = self._until - time.monotonic()
        if left <= 0:
            self.out_of_time = True
            raise LimitReached(f"more than {self._limits.seconds:.0f} s")
        return left

    def _expire(self, over: _Either) -> None:
        self.out_of_time = True
        over.set()


class _Either(threading.Event):
    """Set when set itself, or when one of two others is."""

    def __init__(self, one: threading.Event, other: threading.Event) -> None:
        super().__init__()
        self._others = (one, other)

    def is_set(self) -> bool:
        return super().is_set() or any(event.is_set() for event in self._others)
