"""A model that sits the question: with the passage, without it, or with nothing but the options.

Letters have a pull of their own, so each question is asked with its options rotated and the probabilities are averaged
over the rotations (Zheng et al., "Large Language Models Are Not Robust Multiple Choice Selectors", 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from agents import forms
from agents.bank import OPTION_LETTERS, Question
from core.types import Message

if TYPE_CHECKING:
    from serving.client import ChatClient

Mode = Literal["open book", "closed book", "options only"]


def probabilities(
    client: ChatClient, question: Question, mode: Mode, passage: str = "", rotations: int | None = None
) -> list[float]:
    """For each option the model's probability, averaged over rotations of the options (all of them by default).

    Raises ServingError.
    """
    return rotated(client, len(question.options), lambda order: _prompt(question, mode, passage, order), rotations)


def rotated(
    client: ChatClient, n: int, prompt: Callable[[Sequence[int]], list[Message]], rotations: int | None = None
) -> list[float]:
    """For each of n options the probability of its letter, averaged over rotations; `prompt` lays them out in an order."""
    return averaged(each_rotation(client, n, prompt, rotations))


def averaged(turns: Sequence[Sequence[float]]) -> list[float]:
    """Each option's mean over rotations."""
    return [sum(chances) / len(turns) for chances in zip(*turns, strict=True)]


def each_rotation(
    client: ChatClient, n: int, prompt: Callable[[Sequence[int]], list[Message]], rotations: int | None = None
) -> list[list[float]]:
    """The same for each rotation by itself, [rotations, n]."""
    count = min(rotations or n, n)
    turns = [n * k // count for k in range(count)]
    rows = []
    for turn in turns:
        order = [(i + turn) % n for i in range(n)]
        found = client.choose(prompt(order), OPTION_LETTERS[:n])
        chances = {option: math.exp(found.logprobs[OPTION_LETTERS[place]]) for place, option in enumerate(order)}
        rows.append([chances[option] for option in range(n)])
    return rows


def right(question: Question, chances: Sequence[float]) -> bool:
    """Whether the likeliest options, as many as there are right ones, are the right ones."""
    best = sorted(range(len(chances)), key=lambda i: -chances[i])[: len(question.correct)]
    return question.is_right(best)


def chance(question: Question) -> float:
    """The probability of being right by guessing."""
    return 1 / math.comb(len(question.options), len(question.correct))


def _prompt(question: Question, mode: Mode, passage: str, order: Sequence[int]) -> list[Message]:
    options = "\n".join(f"{OPTION_LETTERS[place]}) {question.options[i]}" for place, i in enumerate(order))
    parts = [options]
    if mode != "options only":
        parts.insert(0, f"Question: {question.question}")
    if mode == "open book":
        parts.insert(0, f"Notes: {passage}")
    name = "guesser" if mode == "options only" else "solver"
    return [Message("system", forms.instructions(name)), Message("user", "\n\n".join(parts))]
