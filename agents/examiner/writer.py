"""A draft of a question on one sentence of a passage, which is its source: so the source is there word for word."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents import forms
from agents.bank import Question, Source
from agents.examiner.cues import TEXT
from agents.examiner.plan import Slot, facts
from core.types import Chunk, Message

if TYPE_CHECKING:
    from serving.client import ChatClient

NEW = "new-"  # how the ids of written questions begin
_TOKENS = 320
_HANGS = re.compile(
    r"(?:[,;:(–]|'s|\b(?:a|an|the|its|their|this|of|by|to|for|and|or|with|in|on|from|as|than|that|which|while|is|are))$"
)
_STEM, _OPTION = 320, 70  # characters at most
_WRONG = tuple(f"wrong_{n}" for n in range(1, 6))  # asked for; three are taken
_SHORTEST = 0.75  # length of a wrong option, over that of the right one, at least


def write(client: ChatClient, slot: Slot, chunk: Chunk, turn: int = 0, trouble: Sequence[str] = ()) -> Question | None:
    """A question without its explanations; None where the model wrote none.

    Each turn asks about another sentence; `trouble` tells what was wrong before. Raises ServingError.
    """
    told = facts(chunk)
    quote = told[(slot.number + turn) % len(told)]
    notes = f"Notes on {chunk.title}:\n{chunk.text}"
    stem, right = _stem(client, slot, notes, quote, trouble)
    if not _whole(stem, _STEM) or not all(_whole(option, _OPTION) for option in right):
        return None
    wrong = _distractors(client, slot, notes, stem, right)
    if len(wrong) < 3:
        return None
    # The writer's own order would put the right one first: its place is the plan's.
    options, correct = list(wrong), []
    for n, option in enumerate(right):
        place = min(slot.place + n * 2, len(options))
        options.insert(place, option)
        correct.append(place)
    name = hashlib.sha256("\0".join([stem, *sorted(options)]).encode()).hexdigest()[:10]
    start = chunk.start + chunk.text.index(quote)
    return Question(
        NEW + name, slot.domain, slot.task, slot.difficulty, slot.bloom, stem, tuple(options),
        tuple(sorted(correct)), "", (), Source(chunk.doc_id, start, start + len(quote), quote), {},
    )  # fmt: skip


def _stem(client: ChatClient, slot: Slot, notes: str, quote: str, trouble: Sequence[str]) -> tuple[str, list[str]]:
    """The question and its right options; "" where the model wrote none."""
    asked = [
        notes,
        f"The fact to ask about: {quote}",
        f"Write one question: {slot.difficulty}, to {slot.bloom}"
        + (". Exactly two options are right: the question says “Which two”." if slot.answers == 2 else "."),
        *(f"The question before was refused: {line}." for line in trouble),
    ]
    schema = {"question": _text(20, _STEM), "right": _array(_text(1, _OPTION), slot.answers)}
    row = _filled(client, "writer", asked, schema)
    stem, right = row.get("question", ""), row.get("right", [])
    return (stem, right) if stem.endswith("?") and len(right) == slot.answers else ("", [])


def _distractors(client: ChatClient, slot: Slot, notes: str, stem: str, right: Sequence[str]) -> list[str]:
    """Three wrong options out of five, near the right one's length; fewer where too few differ."""
    words = len(right[0].split())
    asked = [
        notes,
        f"Question: {stem}",
        *(f"Right option: {option}" for option in right),
        f"Write {len(_WRONG)} wrong options of {words} to {words + 2} words, no two alike.",
    ]
    shortest, longest = min(map(len, right)), max(map(len, right))
    # Left alone, a model writes the right option longest; so in half of the slots, whatever the place of the key, one is
    # to be longer.
    outdone = slot.number // 4 % 2 == 0 and shortest >= TEXT
    least = [max(1, int(_SHORTEST * shortest))] * len(_WRONG)
    if outdone:
        least[0] = longest + 1
    schema = {name: _text(n, n + _OPTION) for name, n in zip(_WRONG, least, strict=True)}
    row = _filled(client, "distractors", asked, schema)
    found: dict[str, str] = {}
    for name, n in zip(_WRONG, least, strict=True):
        option = row.get(name, "")
        if _whole(option, n + _OPTION) and option.casefold() not in (known.casefold() for known in right):
            found.setdefault(option.casefold(), option)
    nearest = sorted(found.values(), key=lambda option: abs(len(option) - longest))
    if outdone:
        nearest.sort(key=lambda option: option != next((o for o in nearest if len(o) > longest), ""))
    else:
        nearest.sort(key=lambda option: len(option) >= longest)
    return nearest[:3]


def _filled(client: ChatClient, prompt: str, asked: Sequence[str], properties: Mapping[str, Any]) -> dict[str, Any]:
    """The form as the model filled it, texts in one line each; empty where it is not whole."""
    reply = client.complete(
        [Message("system", forms.instructions(prompt)), Message("user", "\n\n".join(asked))],
        max_tokens=_TOKENS,
        schema=forms.object_schema(properties),
    )
    row = forms.json_object(reply.text)
    try:  # an endpoint may not hold its model to the schema
        return {
            name: [_line(text) for text in row[name]] if form["type"] == "array" else _line(row[name])
            for name, form in properties.items()
        }
    except (KeyError, TypeError):
        return {}


def _text(least: int, most: int) -> dict[str, Any]:
    return {"type": "string", "minLength": least, "maxLength": most}


def _array(item: Mapping[str, Any], n: int) -> dict[str, Any]:
    return {"type": "array", "items": dict(item), "minItems": n, "maxItems": n}


def _whole(text: str, most: int) -> bool:
    """Neither begun in the middle nor cut off, and in the notes' script."""
    begun = text[:1].isalnum() or text[:1] in "`-−(“\"'<$"
    ended = not _HANGS.search(text)
    return 0 < len(text) < most and begun and ended and of_notes(text)


def of_notes(text: str) -> bool:
    """Whether it is in the notes' script: a small model may fall into another one."""
    return all(
        not char.isalpha() or unicodedata.name(char, "").startswith(("LATIN", "GREEK", "MICRO")) for char in text
    )


def _line(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError("text is wanted")
    return " ".join(text.split())
