"""The learner's results by domain, and a plan for the days until the exam that spends more time where more is missed."""

from __future__ import annotations

from agents.errors import ToolError
from agents.learners import Learner, Mark
from agents.tools.finding import Finding
from core.exam import DOMAINS, TASKS, Domain, apportion

MAX_DAYS = 60


def show_progress(learner: Learner) -> Finding:
    """Answered and right by domain, the last answer of each question counting, and what was missed."""
    last = _last(learner)
    if not last:
        return Finding("You have not answered a practice question yet. Say “quiz me” to begin.", final=True)
    right = sum(m.correct for m in last)
    lines = [f"You have answered {len(last)} practice questions, {right} of them right ({right / len(last):.0%})."]
    for domain in DOMAINS:
        mine = [m for m in last if m.task.startswith(f"{domain.number}.")]
        if mine:
            got = sum(m.correct for m in mine)
            lines.append(f"- {domain.name} ({domain.weight} % of the exam): {got} of {len(mine)} right")
    missed = [TASKS[t].text for t in dict.fromkeys(m.task for m in last if not m.correct) if t in TASKS]
    if missed:
        lines.append("To look at again: " + "; ".join(missed[:5]) + ".")
    return Finding("\n".join(lines), final=True)


def study_plan(learner: Learner, days: int) -> Finding:
    """Days given to domains by exam weight and by what the learner misses; the last day is for a mock exam."""
    if not 1 <= days <= MAX_DAYS:
        raise ToolError(f"days: from 1 to {MAX_DAYS}")
    last = _last(learner)
    need = {d.number: d.weight * (1.5 - _mastery(d, last)) for d in DOMAINS}
    if days == 1:
        order = sorted(DOMAINS, key=lambda d: -need[d.number])
        text = "One day: review " + ", then ".join(d.name for d in order[:3]) + ", then a mock exam of 50 questions."
        return Finding(text, final=True)
    slots = dict(zip(need, apportion(days - 1, list(need.values())), strict=True))
    lines = [f"A plan for {days} days, by the exam's weights" + (" and your results so far:" if last else ":")]
    day = 1
    for domain in sorted(DOMAINS, key=lambda d: -need[d.number]):
        length = slots[domain.number]
        if not length:
            continue
        span = f"Day {day}" if length == 1 else f"Days {day} to {day + length - 1}"
        weak = [
            TASKS[m.task].text
            for m in last
            if not m.correct and m.task.startswith(f"{domain.number}.") and m.task in TASKS
        ]
        first = f", first: {weak[0]}" if weak else ""
        lines.append(
            f"- {span}: {domain.name} ({domain.weight} % of the exam){first}. End each day with practice questions."
        )
        day += length
    left_out = [d.name for d in DOMAINS if not slots[d.number]]
    end = f"- Day {days}: a mock exam of 50 questions in 60 minutes, then what it shows you missed"
    lines.append(end + (f"; skim {', '.join(left_out)} as well." if left_out else "."))
    return Finding("\n".join(lines), final=True)


def _last(learner: Learner) -> list[Mark]:
    return list({m.question_id: m for m in learner.marks()}.values())


def _mastery(domain: Domain, marks: list[Mark]) -> float:
    """Share of right answers, drawn to a half while there are few (Laplace)."""
    mine = [m for m in marks if m.task.startswith(f"{domain.number}.")]
    return (sum(m.correct for m in mine) + 1) / (len(mine) + 2)
