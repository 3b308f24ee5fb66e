"""The one door to the agent: a message of a learner in a thread goes in, events and a checked answer come out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from agents import commands, graph, mcp_client, toolbox, trace
from agents.bank import Bank, Question, question
from agents.classifier import Classifier
from agents.config import AgentSettings
from agents.conversation import State
from agents.errors import AgentError
from agents.guard import Guard
from agents.learners import Learners
from agents.run import Metered, Run
from agents.telemetry import Exporter
from agents.threads import Threads
from core import files
from core.types import Answer, Document, Message, wire
from rag.answering import Answerer, Event

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from rag.retriever import Retriever
    from serving.client import ChatClient

MAX_MESSAGE = 8000


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a run: its answer, what it did, and the documents it cites that the index does not hold."""

    answer: Answer
    trace: trace.Trace
    documents: Mapping[str, Document]


class Tutor:
    """Answers in threads. Safe to share between threads of the process; one run at a time in each conversation."""

    def __init__(self, retriever: Retriever, client: ChatClient, settings: AgentSettings | None = None) -> None:
        self.retriever, self.client = retriever, client
        self.settings = settings or AgentSettings()
        self.threads = Threads(self.settings.threads, self.settings.threads_kept)
        self.learners = Learners(self.settings.learners)
        self.whole_bank = Bank.open(self.settings.bank)
        self._added: list[BaseTool] = [
            *toolbox.dropped_in(self.settings.tool_folders),
            *mcp_client.tools(self.settings.mcp_servers),
        ]
        self._checks = Guard(_classifier(self.settings, retriever))
        self._graph, self._without_thread = graph.build(self.threads.saver), graph.build(None)
        self._exporter = Exporter(self.settings.otlp_endpoint) if self.settings.otlp_endpoint else None
        self._busy: dict[str, threading.Lock] = {}
        self._running: dict[str, threading.Event] = {}
        self._guard = threading.Lock()

    @property
    def bank(self) -> Bank:
        """The practice questions, less those reported as bad."""
        return self.whole_bank.without(self.learners.reported())

    def ask(
        self, question: str, *, thread: str = "", learner: str = "me", cancel: threading.Event | None = None
    ) -> Finished:
        """The last event of `stream`."""
        for event in self.stream(question, thread=thread, learner=learner, cancel=cancel):
            if isinstance(event, Finished):
                return event
        raise AssertionError("a run ended without Finished")

    def stream(
        self,
        question: str,
        *,
        thread: str = "",
        learner: str = "me",
        history: Sequence[Message] = (),
        cancel: threading.Event | None = None,
        client: ChatClient | None = None,
        retriever: Retriever | None = None,
    ) -> Iterator[Event | Finished]:
        """Steps and words as they come, `Finished` at the end.

        Without a thread nothing is remembered, and `history` is the conversation so far. `client` and `retriever`
        replace the tutor's own for this run. Raises ServingError when the model cannot be reached, and AgentError for a
        message that is empty or too long.
        """
        question = question.strip()
        if not question or len(question) > MAX_MESSAGE:
            raise AgentError(f"a message has 1 to {MAX_MESSAGE} characters, this one {len(question)}")
        cancel = cancel or threading.Event()
        key = Threads.key(learner, thread) if thread else ""
        with self._lock(key):
            before = self._state(key) if key else {"messages": wire(history)}
            self._running[key] = cancel  # those without a thread are nobody's to forget
            try:
                yield from self._run(
                    question, key, before, learner, cancel, client or self.client, retriever or self.retriever
                )
            finally:
                self._running.pop(key, None)

    def forget(self, learner: str) -> tuple[int, int]:
        """Deletes a learner's threads and results, stopping their answers under way; how many of each there were."""
        prefix = Threads.key(learner, "")
        with self._guard:
            for key, cancel in list(self._running.items()):
                if key.startswith(prefix):
                    cancel.set()
            busy = [lock for key, lock in self._busy.items() if key.startswith(prefix)]
        for lock in busy:
            with lock:  # its run has ended, and writes nothing after this
                pass
        return self.threads.forget(learner), self.learners.forget(learner)

    def take_back(self, thread: str, learner: str = "me") -> None:
        """Drops the thread's last turn, as if it had not been asked."""
        key = Threads.key(learner, thread)
        messages = self._state(key).get("messages", [])
        if messages:
            config: Any = {"configurable": {"thread_id": key}}
            self._graph.update_state(config, {"messages": messages[:-2]}, as_node="remember")
            self.threads.keep_last(key)

    def drop(self, thread: str, learner: str = "me") -> None:
        """Forgets one thread."""
        self.threads.drop(Threads.key(learner, thread))

    def evidence(self, thread: str, learner: str = "me") -> list[str]:
        """Spans cited in a thread as `document:start-end`, oldest first."""
        return list(self._state(Threads.key(learner, thread)).get("evidence", []))

    def close(self) -> None:
        """Closes the threads' file, and sends the last traces."""
        self.threads.close()
        if self._exporter is not None:
            self._exporter.close()

    def _run(
        self,
        question: str,
        key: str,
        before: dict[str, Any],
        learner: str,
        cancel: threading.Event,
        client: ChatClient,
        retriever: Retriever,
    ) -> Iterator[Event | Finished]:
        seen = trace.Trace(question)
        limits = self.settings.limits
        metered = Metered(client, limits, seen, cancel)
        desk = toolbox.Desk(
            retriever,
            self.learners.learner(learner),
            self.bank,
            self.settings,
            _open_question(before),
            _said(before),
            metered,
        )
        run = Run(
            desk=desk,
            client=metered,
            answerer=Answerer(retriever, metered, self.settings.answers),
            tools={tool.name: tool for tool in [*toolbox.built_in(desk), *self._added]},
            limits=limits,
            turns_kept=self.settings.turns_kept,
            guard=self._checks,
            always_decide=self.settings.always_decide or bool(self._added),
            trace=seen,
            cancel=cancel,
        )
        state: State = {"question": question, "query": question, "answer": None}
        # A turn takes at most: guard, condense, two decisions, each tool call, answers and searches again, verify, remember.
        most = 8 + limits.tool_calls + 2 * limits.searches_again
        config: Any = {"recursion_limit": most}
        compiled, durability = self._graph, cast("Literal['exit'] | None", "exit")
        if key:
            config["configurable"] = {"thread_id": key}
        else:
            compiled, durability = self._without_thread, None
            state["messages"] = before["messages"]
        answer: Answer | None = None
        for graph_path, mode, chunk in compiled.stream(
            state, config, context=run, stream_mode=["custom", "updates"], durability=durability, subgraphs=True
        ):
            if mode == "custom":
                yield cast("Event", chunk)
            elif not graph_path:
                updates = cast("dict[str, State | None]", chunk)
                answer = next((u["answer"] for u in updates.values() if u and u.get("answer") is not None), answer)
        if answer is None:
            raise AssertionError("a run ended without an answer")
        if key:
            self.threads.keep_last(key)
        if self._exporter is not None:
            self._exporter.send(seen, client.endpoint.model, key)
        yield Finished(answer, seen, run.documents)

    def _state(self, key: str) -> dict[str, Any]:
        return dict(self._graph.get_state({"configurable": {"thread_id": key}}).values)

    def _lock(self, key: str) -> threading.Lock:
        if not key:
            return threading.Lock()
        with self._guard:
            return self._busy.setdefault(key, threading.Lock())


def _classifier(settings: AgentSettings, retriever: Retriever) -> Classifier | None:
    if settings.intent_examples is None:
        return None
    examples = files.read_examples(settings.intent_examples, ("text", "intent"), AgentError)
    embedder = retriever.embedder
    return Classifier(
        lambda texts: embedder.encode(texts, tokens=False)[0], examples, settings.intent_cache, embedder.fingerprint
    )


def _open_question(before: Mapping[str, Any]) -> Question | None:
    row = before.get("open_question")
    return question(row) if isinstance(row, dict) else None


def _said(before: Mapping[str, Any]) -> str:
    """The conversation as one text: the summary of its older part, what the learner told of themself, the last turns."""
    turns = [
        f"{'Learner' if m['role'] == 'user' else 'Tutor'}: {m['content']}"
        for m in before.get("messages", [])
        if m["content"] != commands.NOTED
    ]
    told = [f"Learner: {text}" for text in before.get("told", [])]
    older = [text for text in told if text not in turns]  # what is still among the turns is not said twice
    return "\n\n".join([*([before["summary"]] if before.get("summary") else []), *older, *turns])
