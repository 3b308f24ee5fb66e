"""A question answered from sources: condense → search → write → attribute → answer or refuse, as a stream of events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import IndexStateError
from core.types import Answer, Document, Hit, Message, RefusalReason, Usage
from rag import prompts
from rag.citations import attribute
from rag.config import AnswerSettings, IndexSettings
from rag.retriever import Retriever, Search

if TYPE_CHECKING:
    from rag.embedding import Floats
    from serving.client import ChatClient


@dataclass(frozen=True, slots=True)
class Stage:
    """A step ended; `ms` is its time."""

    name: str
    ms: float


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What was searched for and found, before the first token."""

    query: str
    search: Search


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer as the model writes it, markers and all."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The whole answer, checked. Always the last event."""

    answer: Answer


Event = Stage | Retrieved | Token | Done


class Answerer:
    """Grounded answers over a retriever, or over contexts given with the question."""

    def __init__(self, retriever: Retriever | None, client: ChatClient, settings: AnswerSettings | None = None) -> None:
        self.retriever, self.client = retriever, client
        self.settings = settings or AnswerSettings()
        self._over_contexts: Retriever | None = None

    def answer(
        self, messages: Sequence[Message], *, contexts: Sequence[Document] = (), cancel: threading.Event | None = None
    ) -> Answer:
        """The last event's answer of `stream`."""
        for event in self.stream(messages, contexts=contexts, cancel=cancel):
            if isinstance(event, Done):
                return event.answer
        raise AssertionError("stream ended without Done")

    def stream(
        self, messages: Sequence[Message], *, contexts: Sequence[Document] = (), cancel: threading.Event | None = None
    ) -> Iterator[Event]:
        """Events for the last user message; earlier messages are the conversation so far.

        `contexts` replace retrieval. A set `cancel` ends the model's turn; what was written until then is attributed.
        Raises ServingError when the model cannot be reached.
        """
        started = time.perf_counter()
        timings: dict[str, float] = {}
        question = messages[-1].content.strip()
        history = (
            [m for m in messages[:-1] if m.role != "system"][-self.settings.history_turns :]
            if self.settings.history_turns
            else []
        )
        query, usage = question, Usage()
        if history:
            query, usage, timings["condense"] = self._condense(question, history, cancel)
            yield Stage("condense", timings["condense"])
        retriever = self._retriever(contexts)
        search = retriever.search(query, k=self.settings.sources)
        timings |= search.timings_ms
        for name, ms in search.timings_ms.items():
            yield Stage(name, ms)
        yield Retrieved(query, search)
        yield from self._over(
            question, query, search.hits, retriever, retriever.document, timings, started, usage, cancel
        )

    def over(
        self,
        question: str,
        hits: Sequence[Hit],
        documents: Mapping[str, Document],
        *,
        cancel: threading.Event | None = None,
    ) -> Iterator[Event]:
        """Events of an answer over sources found elsewhere; `documents` holds those that the index does not."""
        retriever = self._retriever(())

        def document(doc_id: str) -> Document:
            return documents.get(doc_id) or retriever.document(doc_id)

        started = time.perf_counter()
        yield from self._over(question, question, tuple(hits), retriever, document, {}, started, Usage(), cancel)

    def _over(
        self,
        question: str,
        query: str,
        hits: tuple[Hit, ...],
        retriever: Retriever,
        document: Callable[[str], Document],
        timings: dict[str, float],
        started: float,
        usage: Usage,
        cancel: threading.Event | None,
    ) -> Iterator[Event]:

        def refused(reason: RefusalReason, dropped: int = 0) -> Done:
            timings["total"] = (time.perf_counter() - started) * 1000
            return Done(refusal(question, query, hits, reason, timings, usage, dropped))

        if not hits:
            yield refused("no_sources")
            return
        prompt = prompts.grounded(query, hits, (), self.settings.source_chars)
        text, shown = "", False
        writing = time.perf_counter()
        for delta in self.client.stream(prompt, max_tokens=self.settings.max_tokens, temperature=0.0, cancel=cancel):
            usage += delta.usage or Usage()
            if not delta.text:
                continue
            timings.setdefault("first_token", (time.perf_counter() - writing) * 1000)
            text += delta.text
            # Held back while it may yet turn out to be the refusal, so that the page never shows the code word.
            if shown or not prompts.may_decline(text):
                yield Token(delta.text if shown else text)
                shown = True
        timings["write"] = (time.perf_counter() - writing) * 1000
        yield Stage("write", timings["write"])
        if prompts.declined(text):
            yield refused("model_declined")
            return
        checking = time.perf_counter()
        found = attribute(
            text,
            hits,
            document,
            _encode(retriever),
            retriever.index.bm25.tokens,
            self.settings.support,
            question,
        )
        timings["attribute"] = (time.perf_counter() - checking) * 1000
        yield Stage("attribute", timings["attribute"])
        if not found.citations:
            yield refused("not_in_sources", found.dropped)
        else:
            timings["total"] = (time.perf_counter() - started) * 1000
            yield Done(
                Answer(
                    question,
                    found.text,
                    False,
                    None,
                    found.sentences,
                    found.citations,
                    hits,
                    found.dropped,
                    timings,
                    usage,
                )
            )

    def _retriever(self, contexts: Sequence[Document]) -> Retriever:
        if contexts:
            settings = self.retriever.index.settings if self.retriever else IndexSettings()
            embedder = (self.retriever or self._over_contexts or Retriever.over(contexts, settings)).embedder
            self._over_contexts = Retriever.over(contexts, settings, embedder)
            return self._over_contexts
        if self.retriever is None:
            raise IndexStateError("no index is open and the question brings no contexts. Give --index DIR")
        return self.retriever

    def _condense(
        self, question: str, history: Sequence[Message], cancel: threading.Event | None
    ) -> tuple[str, Usage, float]:
        started = time.perf_counter()
        completion = self.client.complete(
            prompts.condense(question, history), max_tokens=64, temperature=0.0, stop=["\n"], cancel=cancel
        )
        query = prompts.standalone(completion.text, question, history)
        return query, completion.usage, (time.perf_counter() - started) * 1000


def refusal(
    question: str,
    query: str,
    sources: tuple[Hit, ...],
    reason: RefusalReason,
    timings_ms: Mapping[str, float],
    usage: Usage,
    dropped: int = 0,
) -> Answer:
    """The answer that says the sources hold none, and where it looked."""
    titles = list(dict.fromkeys(hit.chunk.title for hit in sources))
    looked = f" I looked in: {', '.join(titles)}." if titles else ""
    text = f"The notes do not hold an answer to this, so I would rather not guess. I searched for “{query}”.{looked}"
    return Answer(question, text, True, reason, (), (), sources, dropped, timings_ms, usage)


def _encode(retriever: Retriever):  # type: ignore[no-untyped-def]
    def encode(texts: Sequence[str]) -> Floats:
        return retriever.embedder.encode(texts, tokens=False)[0]

    return encode
