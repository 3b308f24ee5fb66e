"""How a learner does by domain, over time. Pure functions of their marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from agents.learners import Mark
from core.exam import DOMAINS


@dataclass(frozen=True, slots=True)
class Point:
    """A domain's mastery at the end of a day: the share right among the last answers of all its questions, so far."""

    day: date
    domain: str
    mastery: float
    answered: int


def over_time(marks: Sequence[Mark]) -> list[Point]:
    """A point for each day and domain in which something was answered, oldest first."""
    last: dict[int, dict[str, bool]] = {d.number: {} for d in DOMAINS}
    points: dict[tuple[date, int], Point] = {}
    for mark in sorted(marks, key=lambda m: m.at):
        number = int(mark.task.split(".")[0])
        if number not in last:
            continue
        mine = last[number]
        mine[mark.question_id] = mark.correct
        day = datetime.fromtimestamp(mark.at).astimezone().date()
        points[day, number] = Point(day, DOMAINS[number - 1].name, sum(mine.values()) / len(mine), len(mine))
    return list(points.values())


def latest(points: Sequence[Point]) -> dict[str, Point | None]:
    """Each domain's latest point; None where nothing was answered."""
    found: dict[str, Point | None] = {d.name: None for d in DOMAINS}
    found.update({point.domain: point for point in points})
    return found
