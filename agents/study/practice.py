"""Single practice questions: which one is next, and the mark of an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from agents.bank import Bank, Question
from agents.errors import AgentError
from agents.learners import Learner
from agents.study import cards


def choose(bank: Bank, learner: Learner, domain: int = 0, avoid: str = "") -> Question:
    """A question never asked, else the one missed longest ago, else the one right longest ago; `domain` 0 is any.

    AgentError where the bank holds none. `avoid` is the one just asked.
    """
    mine = [q for q in bank.questions.values() if domain in (0, q.domain)]
    if not mine:
        raise AgentError("the bank holds no question of this domain")
    last = {mark.question_id: mark for mark in learner.marks()}

    def order(question: Question) -> tuple[bool, int, float, str]:
        mark = last.get(question.id)
        rank = 0 if mark is None else 2 if mark.correct else 1
        # Those never asked come in an order of the learner's own, which does not change between visits.
        return (
            question.id == avoid,
            rank,
            mark.at if mark else 0.0,
            hashlib.sha256(f"{learner.name}\0{question.id}".encode()).hexdigest(),
        )

    return min(mine, key=order)


def grade(
    learner: Learner,
    question: Question,
    chosen: Collection[int],
    now: float,
    seconds: float | None = None,
    confidence: str = "",
    at: float | None = None,
) -> bool:
    """Whether the answer, given `at` or now, is right. It is kept, and a missed question becomes a card."""
    right = question.is_right(chosen)
    given = now if at is None else at
    learner.mark(question.id, question.task, question.source.doc_id, right, seconds, confidence, given)
    if not right:
        cards.add_question(learner, question, now)
    return right
