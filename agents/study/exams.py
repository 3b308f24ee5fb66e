"""A timed mock exam: composed by the exam's weights, kept after every step, and ended by its clock or its learner.

Sittings are values; `change` writes the next one down whole, so that a page closed or killed at any moment goes on where
it was, and of two clicks that cross on their way none is lost.
"""

from __future__ import annotations

import json
import random
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

from agents.bank import Bank, Question
from agents.errors import AgentError
from agents.learners import Learner
from agents.study import practice
from core.exam import DOMAINS, MINUTES, QUESTIONS, apportion

CONFIDENCE = ("sure", "unsure", "guessed")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a learner gave to one question; `seconds` is the time it stood before them."""

    chosen: tuple[int, ...] = ()
    confidence: str = ""
    flagged: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Sitting:
    """One mock exam; times are seconds since 1970. `at` is the question shown, since `shown`."""

    id: str
    questions: tuple[str, ...]
    started: float
    ends: float
    at: int
    shown: float
    replies: Mapping[str, Reply] = field(default_factory=dict)
    ended: float | None = None

    def reply(self, question_id: str) -> Reply:
        """What was given so far."""
        return self.replies.get(question_id, Reply())

    def answered(self) -> int:
        """How many questions have an answer."""
        return sum(bool(reply.chosen) for reply in self.replies.values())


def compose(bank: Bank, learner: Learner, count: int = QUESTIONS, seed: int | None = None) -> list[Question]:
    """Questions by the exam's weights, those never answered first; shuffled. AgentError where a domain has too few."""
    draw = random.Random(seed)
    answered = {mark.question_id: mark.at for mark in learner.marks()}
    found: list[Question] = []
    for domain, share in zip(DOMAINS, apportion(count, [d.weight for d in DOMAINS]), strict=True):
        mine = [q for q in bank.questions.values() if q.domain == domain.number]
        if len(mine) < share:
            raise AgentError(
                f"a mock exam of {count} needs {share} questions on {domain.name}, the bank has {len(mine)}"
            )
        draw.shuffle(mine)
        found += sorted(mine, key=lambda q: answered.get(q.id, 0.0))[:share]
    draw.shuffle(found)
    return found


def begin(
    learner: Learner, bank: Bank, now: float, count: int = QUESTIONS, minutes: float = MINUTES, seed: int | None = None
) -> Sitting:
    """A new sitting, kept. An open one is gone on with instead."""
    there = current(learner)
    if there is not None:
        return there
    questions = tuple(q.id for q in compose(bank, learner, count, seed))
    sitting = Sitting(secrets.token_hex(8), questions, now, now + minutes * 60, 0, now)
    with learner.store.open() as db:
        _write(db, learner, sitting)
    return sitting


def current(learner: Learner) -> Sitting | None:
    """The open sitting, if there is one."""
    with learner.store.open() as db:
        return _read(db, learner)


def change(learner: Learner, step: Callable[[Sitting], Sitting]) -> Sitting | None:
    """The open sitting after a step, read and written down in one go; None where none is open."""
    with learner.store.open() as db:
        db.execute("begin immediate")
        sitting = _read(db, learner)
        if sitting is None:
            return None
        changed = step(sitting)
        _write(db, learner, changed)
    return changed


def ended(learner: Learner) -> list[Sitting]:
    """All ended sittings, the latest first."""
    with learner.store.open() as db:
        rows = db.execute(
            "select row from sittings where learner = ? and ended is not null order by ended desc", (learner.name,)
        ).fetchall()
    return [_sitting(row[0]) for row in rows]


def show(sitting: Sitting, index: int, now: float) -> Sitting:
    """Another question before the learner; the time the last one stood there is added to it."""
    left = sitting.questions[sitting.at]
    before = sitting.reply(left)
    spent = max(0.0, min(now, sitting.ends) - sitting.shown)
    replies = {**sitting.replies, left: replace(before, seconds=before.seconds + spent)}
    return replace(sitting, replies=replies, at=max(0, min(index, len(sitting.questions) - 1)), shown=now)


def give(sitting: Sitting, index: int, chosen: Iterable[int], confidence: str) -> Sitting:
    """A question's answer and how sure the learner is."""
    question_id = sitting.questions[index]
    given = replace(sitting.reply(question_id), chosen=tuple(sorted(set(chosen))), confidence=confidence)
    return replace(sitting, replies={**sitting.replies, question_id: given})


def flag(sitting: Sitting) -> Sitting:
    """The present question marked to be looked at again, or no longer."""
    question_id = sitting.questions[sitting.at]
    before = sitting.reply(question_id)
    return replace(sitting, replies={**sitting.replies, question_id: replace(before, flagged=not before.flagged)})


def over(sitting: Sitting, now: float) -> bool:
    """Whether its time is up."""
    return now >= sitting.ends


def finish(learner: Learner, bank: Bank, now: float) -> Sitting | None:
    """Ends the open sitting once: answers become marks, missed questions cards to review. None where none is open."""
    done = change(learner, lambda s: replace(show(s, s.at, now), ended=min(now, s.ends)))
    if done is None:
        return None
    for question_id, reply in done.replies.items():
        question = bank.questions.get(question_id)
        if question is None or not reply.chosen:
            continue
        practice.grade(learner, question, reply.chosen, now, reply.seconds, reply.confidence, done.ended)
    return done


def _read(db: sqlite3.Connection, learner: Learner) -> Sitting | None:
    row = db.execute(
        "select row from sittings where learner = ? and ended is null order by started desc", (learner.name,)
    ).fetchone()
    return _sitting(row[0]) if row else None


def _write(db: sqlite3.Connection, learner: Learner, sitting: Sitting) -> None:
    row = (learner.name, sitting.id, json.dumps(asdict(sitting)), sitting.started, sitting.ended)
    db.execute("insert or replace into sittings values (?, ?, ?, ?, ?)", row)


def _sitting(text: str) -> Sitting:
    row = json.loads(text)
    replies = {k: Reply(**{**v, "chosen": tuple(v["chosen"])}) for k, v in row.pop("replies").items()}
    return Sitting(**{**row, "questions": tuple(row["questions"]), "replies": replies})
