"""A draft of a question: the model names the sentence it rests on by number, so that the source is there word for word."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agents import forms
from agents.bank import Question, Source
from agents.examiner.plan import Slot, statements
from core.exam import TASKS
from core.types import Chunk, Message

if TYPE_CHECKING:
    from serving.client import ChatClient

NEW = "new-"  # how the ids of written questions begin
_DRAFT_TOKENS, _EXPLANATION_TOKENS = 320, 320


def write(client: ChatClient, slot: Slot, chunk: Chunk, trouble: Sequence[str] = ()) -> Question | None:
    """A question without its explanations; None where the model wrote none. `trouble` tells what was wrong before.

    Raises ServingError.
    """
    told = statements(chunk)
    asked = [
        f"Subject: {chunk.title}. Exam task: {TASKS[slot.task].text}.",
        f"Sentences:\n{numbered(told)}",
        f"Write one question: {slot.difficulty}, to {slot.bloom}"
        + (". Exactly two options are right: the question says “Which two”." if slot.answers == 2 else "."),
        *(f"The question before was refused: {line}." for line in trouble),
    ]
    reply = client.complete(
        [Message("system", forms.instructions("writer")), Message("user", "\n\n".join(asked))],
        max_tokens=_DRAFT_TOKENS,
        schema=_draft_schema(slot, len(told)),
    )
    row = forms.json_object(reply.text)
    try:
        quote = told[int(row["sentence"]) - 1]
        right, wrong = [_line(o) for o in row["right"]], [_line(o) for o in row["wrong"]]
        stem = _line(row["question"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    if len(right) != slot.answers or len(wrong) != 3 or not all([stem, *right, *wrong]):
        return None
    start = chunk.start + chunk.text.index(quote)
    # The writer's own order would put the right one first: its place is the plan's.
    options, correct = list(wrong), []
    for n, option in enumerate(right):
        place = min(slot.place + n * 2, len(options))
        options.insert(place, option)
        correct.append(place)
    name = hashlib.sha256("\0".join([stem, *sorted(options)]).encode()).hexdigest()[:10]
    return Question(
        NEW + name, slot.domain, slot.task, slot.difficulty, slot.bloom, stem, tuple(options),
        tuple(sorted(correct)), "", (), Source(chunk.doc_id, start, start + len(quote), quote), {},
    )  # fmt: skip


def explain(client: ChatClient, question: Question) -> Question | None:
    """The question with its explanation and a sentence on each wrong option; None where the model wrote none."""
    right = [question.options[i] for i in question.correct]
    wrong = [o for i, o in enumerate(question.options) if i not in question.correct]
    asked = "\n".join([
        f"Passage: {question.source.quote}", f"Question: {question.question}", f"Right: {'; '.join(right)}",
        *(f"Wrong {n}: {option}" for n, option in enumerate(wrong, 1)),
    ])  # fmt: skip
    text = {"type": "string", "minLength": 20, "maxLength": 300}
    reply = client.complete(
        [Message("system", forms.instructions("explainer")), Message("user", asked)],
        max_tokens=_EXPLANATION_TOKENS,
        schema=forms.object_schema({"explanation": text, "why_not": _array(text, len(wrong))}),
    )
    row = forms.json_object(reply.text)
    try:
        why_not = tuple(_line(w) for w in row["why_not"])
        explanation = _line(row["explanation"])
    except (KeyError, TypeError):
        return None
    whole = explanation and len(why_not) == len(wrong) and all(why_not)
    return replace(question, explanation=explanation, why_not=why_not) if whole else None


def numbered(told: Sequence[str]) -> str:
    """Sentences as the model is to name them."""
    return "\n".join(f"{n}. {text}" for n, text in enumerate(told, 1))


def _draft_schema(slot: Slot, sentences: int) -> dict[str, Any]:
    option = {"type": "string", "minLength": 1, "maxLength": 110}
    return forms.object_schema({
        "sentence": {"type": "integer", "enum": list(range(1, sentences + 1))},
        "question": {"type": "string", "minLength": 20, "maxLength": 320},
        "right": _array(option, slot.answers),
        "wrong": _array(option, 3),
    })  # fmt: skip


def _array(item: Mapping[str, Any], n: int) -> dict[str, Any]:
    return {"type": "array", "items": dict(item), "minItems": n, "maxItems": n}


def _line(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError("text is wanted")
    return " ".join(text.split())
