"""What a tutor's answers are worth: pure functions over texts and labels, checked against hand-worked numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

MARKER = re.compile(r"\[(\d{1,2})\]")


def cited(text: str) -> list[int]:
    """The source numbers an answer names, in order, with repeats."""
    return [int(n) for n in MARKER.findall(text)]


def citation_precision(answers: Sequence[str], gold: Sequence[Sequence[int]]) -> float:
    """Share of all markers written that name a source which supports the answer; 0 where none was written."""
    named = [(n, set(right)) for text, right in zip(answers, gold, strict=True) for n in cited(text)]
    return sum(n in right for n, right in named) / len(named) if named else 0.0


def refusal(predicted: Sequence[bool], wanted: Sequence[bool]) -> tuple[float, float, float]:
    """Precision, recall and F1 of refusing; each 0 where it is undefined."""
    both = sum(p and w for p, w in zip(predicted, wanted, strict=True))
    precision = both / sum(predicted) if any(predicted) else 0.0
    recall = both / sum(wanted) if any(wanted) else 0.0
    return precision, recall, 2 * both / (sum(predicted) + sum(wanted)) if both else 0.0


def accuracy(chosen: Sequence[int], correct: Sequence[int]) -> float:
    """Share of equal entries."""
    return sum(c == k for c, k in zip(chosen, correct, strict=True)) / len(correct) if correct else 0.0
