"""What a mock exam says: right by domain and task, how sure the learner was, time, and what to study next. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from agents.bank import Bank, Question
from agents.study.exams import CONFIDENCE, Reply, Sitting
from core.exam import DOMAINS, TASKS

_Z = 1.96  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class Share:
    """Right of so many, with Wilson's 95 % interval (Wilson 1927)."""

    name: str
    right: int
    of: int

    @property
    def value(self) -> float:
        """From 0 to 1; 0 of nothing."""
        return self.right / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds from 0 to 1."""
        if not self.of:
            return (0.0, 1.0)
        n, p = self.of, self.value
        middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n))
        return (max(0.0, middle - half), min(1.0, middle + half))


@dataclass(frozen=True, slots=True)
class Answered:
    """A question of the sitting, and what was given to it."""

    number: int
    question: Question
    reply: Reply

    @property
    def right(self) -> bool:
        """All right options and no other."""
        return self.question.is_right(self.reply.chosen)


@dataclass(frozen=True, slots=True)
class Score:
    """A whole sitting; what was left open counts as wrong. `withdrawn` are questions no longer in the bank."""

    total: Share
    domains: tuple[Share, ...]
    tasks: tuple[Share, ...]
    confidence: tuple[Share, ...]
    answers: tuple[Answered, ...]
    open: int
    withdrawn: int
    minutes: float
    study_next: tuple[tuple[str, tuple[str, ...]], ...]  # tasks with most missed, and the notes to read

    @property
    def slowest(self) -> tuple[Answered, ...]:
        """The five that took longest."""
        return tuple(sorted(self.answers, key=lambda a: -a.reply.seconds)[:5])


def score(sitting: Sitting, bank: Bank) -> Score:
    """The sitting's result."""
    answers = tuple(
        Answered(n, bank.questions[q], sitting.reply(q))
        for n, q in enumerate(sitting.questions, 1)
        if q in bank.questions
    )
    missed: dict[str, list[Question]] = {}
    for answer in answers:
        if not answer.right:
            missed.setdefault(answer.question.task, []).append(answer.question)
    first = sorted(missed, key=lambda task: (-len(missed[task]), task))[:3]
    return Score(
        _share("All", answers),
        tuple(_share(d.name, [a for a in answers if a.question.domain == d.number]) for d in DOMAINS),
        tuple(
            _share(f"{task} {_named(task)}", [a for a in answers if a.question.task == task])
            for task in sorted({a.question.task for a in answers}, key=lambda t: [int(part) for part in t.split(".")])
        ),
        tuple(
            _share(name, [a for a in answers if a.reply.chosen and a.reply.confidence == name]) for name in CONFIDENCE
        ),
        answers,
        sum(not a.reply.chosen for a in answers),
        len(sitting.questions) - len(answers),
        ((sitting.ended or sitting.ends) - sitting.started) / 60,
        tuple((_named(task), tuple(dict.fromkeys(q.source.doc_id for q in missed[task]))) for task in first),
    )


def _share(name: str, answers: Sequence[Answered]) -> Share:
    return Share(name, sum(a.right for a in answers), len(answers))


def _named(task: str) -> str:
    return TASKS[task].text if task in TASKS else task
