"""From a visitor's action to what the page shows: events in, HTML out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path

from agents.tutor import Finished
from app import conversations, render
from app.conversations import Turn
from app.service import Service
from app.visitor import ME
from core.errors import GenlError, ServingError
from core.types import Document
from rag.answering import Retrieved, Stage, Token
from rag.retriever import Search

_STEPS = {
    "condense": "Reading the conversation",
    "decide": "Deciding what to do",
    "search_notes": "Searching the notes",
    "search_again": "Searching again in other words",
    "calculate": "Calculating",
    "gpu_memory": "Working out the memory",
    "open_note": "Opening the note",
    "recall_conversation": "Reading the conversation",
    "make_quiz": "Choosing a question",
    "write_question": "Writing a question",
    "judge_question": "Checking the question",
    "grade_answer": "Grading your answer",
    "study_plan": "Planning",
    "write": "Checking citations",
    "verify": "Checking what the answer claims",
}
_FRAME_S = 0.1  # a page needs no more than ten updates a second


class Handlers:
    """One method an action. A conversation has at most one question in flight; a new one stops it.

    `learner` is who asks: whoever logged in, or ME where nobody has to.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._in_flight: dict[tuple[str, str], threading.Event] = {}  # by learner and conversation

    def show(self, conversation: str, learner: str = ME) -> str:
        """The conversation as kept."""
        turns = conversations.load(self._folder(learner), conversation)
        return render.conversation([(t.question, t.html) for t in turns])

    def respond(self, question: str, conversation: str, model: str | None = None, learner: str = ME) -> Iterator[str]:
        """The conversation's HTML, again and again while the answer grows. The turn is kept when it ends.

        `model` is the one picked; None is the usual one.
        """
        question, folder = question.strip(), self._folder(learner)
        turns = conversations.load(folder, conversation)
        if not question:
            yield self.show(conversation, learner)
            return
        self.stop(conversation, learner)
        mine = (learner, conversation)
        cancel = self._in_flight[mine] = threading.Event()
        shown = [(t.question, t.html) for t in turns]
        try:
            for html, text in self._answer(question, conversation, turns, cancel, model, learner):
                yield render.conversation([*shown, (question, html)])
                # Kept at every frame that ends something, so that a reload in mid-answer loses no question; what was
                # forgotten meanwhile stays so.
                if text is not None and self._in_flight.get(mine) is cancel:
                    conversations.save(folder, conversation, [*turns, Turn(question, text, html)])
        finally:
            if self._in_flight.get(mine) is cancel:
                del self._in_flight[mine]

    def stop(self, conversation: str, learner: str = ME) -> None:
        """Ends the answer being written, which keeps what is there."""
        running = self._in_flight.get((learner, conversation))
        if running is not None:
            running.set()

    def take_back(self, conversation: str, learner: str = ME) -> str:
        """Drops the last turn; its question."""
        self.stop(conversation, learner)
        folder = self._folder(learner)
        turns = conversations.load(folder, conversation)
        conversations.save(folder, conversation, turns[:-1])
        self.service.tutor.take_back(conversation, learner)
        return turns[-1].question if turns else ""

    def clear(self, conversation: str, learner: str = ME) -> str:
        """Forgets the conversation; the empty page."""
        self.stop(conversation, learner)
        conversations.save(self._folder(learner), conversation, [])
        self.service.tutor.drop(conversation, learner)
        return self.show(conversation, learner)

    def remembered(self, learner: str = ME) -> str:
        """What is kept about a learner, in numbers."""
        marks = self.service.tutor.learners.learner(learner).marks()
        right = sum(mark.correct for mark in marks)
        return render.remembered(conversations.count(self._folder(learner)), len(marks), right)

    def forget_me(self, learner: str = ME) -> str:
        """Deletes all that is kept about a learner; a line that says so."""
        for key in [key for key in self._in_flight if key[0] == learner]:
            # An answer under way in any tab: what is taken out here is no longer saved.
            if running := self._in_flight.pop(key, None):
                running.set()
        results = self.service.tutor.forget(learner)[1]
        shown = conversations.forget(self._folder(learner))
        return render.done(f"{shown} conversations and {results} study records are forgotten")

    def status(self) -> str:
        """The status line."""
        status = self.service.status()
        seconds = f" · {time.time() - status.since:.0f} s" if status.state in ("starting", "restarting") else ""
        return f'<p class="status {status.state}" role="status"><span class="light"></span>{escape(status.detail)}{seconds}</p>'

    def upload(self, path: str, name: str) -> str:
        """Takes a document in; a line that says so, or what is wrong with it."""
        try:
            stored = self.service.add(Path(path), name)
        except (GenlError, OSError) as error:
            return render.notice(" ".join(str(error).split()))
        return render.done(f"{stored} is in the index")

    def forget(self, name: str) -> str:
        """Removes a document; a line that says so."""
        try:
            self.service.forget(name)
        except (GenlError, OSError) as error:
            return render.notice(" ".join(str(error).split()))
        return render.done(f"{name} is forgotten")

    def _folder(self, learner: str) -> Path:
        return conversations.folder_of(self.service.settings.conversations, learner)

    def _answer(
        self,
        question: str,
        conversation: str,
        turns: list[Turn],
        cancel: threading.Event,
        model: str | None,
        learner: str,
    ) -> Iterator[tuple[str, str | None]]:
        """`(HTML, None)` while it grows, `(HTML, text)` for what is to be kept."""
        written, last = "", 0.0
        searches: list[Search] = []
        begun = render.notice("This answer was interrupted. Ask again.")
        try:
            yield render.waiting("Searching the notes"), None
            for status in self.service.wait_for_model(cancel):
                yield (
                    render.waiting(f"{status.detail} · {time.time() - status.since:.0f} s. Your question is next"),
                    None,
                )
            if cancel.is_set():
                yield render.notice("Stopped."), "(stopped)"
                return
            retriever, events = self.service.ask(question, conversation, cancel, model, learner)
            for event in events:
                if isinstance(event, Stage) and not written:
                    yield render.waiting(_STEPS.get(event.name, f"Using {event.name.replace('_', ' ')}")), None
                elif isinstance(event, Retrieved):
                    searches.append(event.search)
                    yield render.waiting("Reading the best passages"), None
                elif isinstance(event, Token):
                    if not written:
                        # From here on a reload shows at least the question and how far it came.
                        yield render.streaming(event.text) + begun, event.text
                    written += event.text
                    if time.monotonic() - last >= _FRAME_S:
                        last = time.monotonic()
                        yield render.streaming(written), None
                elif isinstance(event, Finished):
                    # Ids must be unique in the page, also when a question is asked twice.
                    key = f"{len(turns)}-{time.time_ns():x}"
                    found = event

                    def document(doc_id: str, found: Finished = found) -> Document:
                        return found.documents.get(doc_id) or retriever.document(doc_id)

                    html = render.answer(event.answer, searches, document, key) + render.trace(event.trace.to_row())
                    if cancel.is_set():
                        html += render.notice("Stopped.")
                    yield html, event.answer.text
        except ServingError as error:
            trouble = "The model server stopped; it is being restarted. Ask again in a moment."
            status = self.service.status()
            if status.state == "failed" or self.service.supervisor is None:
                trouble = " ".join(str(error).split())
            yield (render.streaming(written) if written else "") + render.notice(trouble), written or "(no answer)"
        except GenlError as error:
            yield render.notice(" ".join(str(error).split())), "(no answer)"
