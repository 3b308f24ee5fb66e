"""What a drafted question must stand before it joins the bank: each gate a name, a figure and a verdict, cheapest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agents.bank import Question, passage, valid
from agents.examiner import solver
from agents.examiner.cues import cues
from core.types import Document

if TYPE_CHECKING:
    from serving.client import ChatClient

NEAR = 0.9  # cosine to a question of the bank, above which it is the same one
WITHOUT_MODEL = ("source span", "cues", "near-duplicate")
WITH_MODEL = ("open book", "closed book", "options only", "second key")  # ask one, after all others
_SURE = 4 / 3  # probability of the key from the options alone, over that of a blind guess, from which it is no accident
# Share of a distractor, alone against the key and with the passage, from which it may be right too. To ask of each one
# whether the passage supports it told a small model nothing (docs/questions.md).
_DEFENSIBLE = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate's: `figure` is kept in the question's `checks`, `trouble` is told to the writer."""

    gate: str
    figure: Any
    passed: bool
    trouble: str = ""


def judge(
    question: Question,
    document: Document,
    client: ChatClient | None,
    nearest: Callable[[Question], float],
    rotations: int | None = None,
) -> Iterator[Verdict]:
    """The verdicts one after another, to the first that fails; without a client those alone that need none.

    Raises ServingError.
    """
    for verdict in _verdicts(question, document, client, nearest, rotations):
        yield verdict
        if not verdict.passed:
            return


def text_of(question: Question) -> str:
    """What two questions are compared by: stem and key."""
    return f"{question.question} {' '.join(question.options[i] for i in question.correct)}"


def _verdicts(
    q: Question,
    document: Document,
    client: ChatClient | None,
    nearest: Callable[[Question], float],
    rotations: int | None,
) -> Iterator[Verdict]:
    stands = valid(q.source, document)
    yield Verdict("source span", stands, stands)
    found = cues(q)
    yield Verdict("cues", found, not found, f"the options give the key away ({', '.join(found)})")
    near = nearest(q)
    yield Verdict("near-duplicate", round(near, 3), near <= NEAR, "it asks what another question of the bank asks")
    if client is None:
        return
    text = passage(q.source, document)
    open_book = solver.probabilities(client, q, "open book", text, rotations)
    read = _on_key(q, open_book)
    yield Verdict(
        "open book", round(read, 3), solver.right(q, open_book), "with the notes the marked option is not found"
    )
    known = _on_key(q, solver.probabilities(client, q, "closed book", "", rotations))
    yield Verdict("closed book", round(known, 3), known < read, "the notes do not help to find the right option")
    # In all rotations, for in some of them alone a guesser with a favourite letter looks sure. A guess is right now and
    # then; what may not be is a guesser who is sure.
    guessed = solver.probabilities(client, q, "options only")
    luck = _on_key(q, guessed)
    sure = solver.right(q, guessed) and luck > _SURE * len(q.correct) / len(q.options)
    yield Verdict("options only", round(luck, 3), not sure, "the options alone give the key away")
    rivals = [round(_rivalry(client, q, i, text), 3) for i in q.wrong]
    yield Verdict(
        "second key", rivals, max(rivals) < _DEFENSIBLE, "by the notes one of the wrong options may be right too"
    )


def _rivalry(client: ChatClient, q: Question, rival: int, text: str) -> float:
    """The rival's share where it and a key are the only options; against the weaker of two keys."""
    duels = [replace(q, options=(q.options[key], q.options[rival]), correct=(0,)) for key in q.correct]
    return max(solver.probabilities(client, duel, "open book", text)[1] for duel in duels)


def _on_key(q: Question, chances: Sequence[float]) -> float:
    return sum(chances[i] for i in q.correct)
