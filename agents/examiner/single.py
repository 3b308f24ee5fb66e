"""One question for a chat, where the bank has none left on a subject: written from the notes, through the same gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.examiner import graph, plan
from agents.examiner.known import Known
from agents.examiner.writer import NEW
from agents.researcher import closeness
from agents.run import LimitReached
from core.exam import TASKS
from core.types import Chunk

if TYPE_CHECKING:
    from agents.bank import Question
    from agents.toolbox import Desk

_ROTATIONS = 2
_PASSAGES = 20  # looked through for some of the document


def question_on(desk: Desk, topic: str, doc_id: str) -> Question | None:
    """A question on the topic from that document's passages; the next one where the learner has answered some already.

    None where no passage is near the topic, where none stood the gates, or at a bound of the run. Raises ServingError.
    """
    if desk.client is None:
        return None
    near = [
        hit.chunk
        for hit in desk.retriever.search(topic, k=_PASSAGES).hits
        if hit.chunk.doc_id == doc_id and closeness(hit) >= desk.settings.close and plan.askable(hit.chunk)
    ]
    if not near:
        return None
    answered = sum(m.topic == doc_id and m.question_id.startswith(NEW) for m in desk.learner.marks())
    chunk = near[answered % len(near)]
    bank = [q for q in desk.bank.questions.values() if q.source.doc_id == doc_id]
    task = plan.task_of(doc_id, None, desk.retriever, bank) or _nearest_task(desk, chunk)
    slot = plan.slots(answered + 1, task=task)[-1]
    known = Known(desk.retriever)
    known.add(bank)
    desk.client.purpose = "examine"
    try:
        return graph.attempt(graph.Desk(desk.retriever, desk.client, known.nearest, _ROTATIONS), slot, chunk)[0]
    except LimitReached:
        return None


def _nearest_task(desk: Desk, chunk: Chunk) -> str:
    """The task statement nearest to a passage by the index's embedder: a learner's own document names none."""
    texts = [chunk.text, *(task.text for task in TASKS.values())]
    vectors = desk.retriever.embedder.encode(texts, tokens=False)[0]
    return list(TASKS)[int((vectors[1:] @ vectors[0]).argmax())]
