"""What a tool brings back."""

from __future__ import annotations

from dataclasses import dataclass

from agents.bank import Question
from core.types import Hit
from rag.retriever import Search


@dataclass(frozen=True, slots=True)
class Finding:
    """`text` is true as it stands. `final` ones are a whole reply by themselves; the others are sources of an answer.

    `hits` are passages of notes, `searches` those that found them; `question` is the practice question that was asked.
    """

    text: str
    hits: tuple[Hit, ...] = ()
    final: bool = False
    searches: tuple[Search, ...] = ()
    question: Question | None = None
