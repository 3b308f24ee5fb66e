"""Flashcards a model writes from a note. Each names the sentence it rests on by number, and shows it word for word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agents import forms
from agents.examiner.plan import statements
from core.types import Chunk, Message

if TYPE_CHECKING:
    from rag.retriever import Retriever
    from serving.client import ChatClient

CARDS = 2  # a passage
_TOKENS = 240


def from_note(client: ChatClient, retriever: Retriever, doc_id: str) -> Iterator[tuple[str, str]]:
    """Front and back of each card, passage after passage of the note. Raises ServingError."""
    seen = set()
    for chunk in retriever.index.chunks:
        if chunk.doc_id != doc_id:
            continue
        for front, back in _from_passage(client, chunk):
            if front not in seen:
                seen.add(front)
                yield front, back


def _from_passage(client: ChatClient, chunk: Chunk) -> Iterator[tuple[str, str]]:
    told = statements(chunk)
    if not told:
        return
    side = {"type": "string", "minLength": 10, "maxLength": 240}
    card = {"sentence": {"type": "integer", "enum": list(range(1, len(told) + 1))}, "front": side, "back": side}
    cards = {"type": "array", "items": forms.object_schema(card), "minItems": 1, "maxItems": min(CARDS, len(told))}
    reply = client.complete(
        [
            Message("system", forms.instructions("cards")),
            Message("user", f"Subject: {chunk.title}.\nSentences:\n{_numbered(told)}"),
        ],
        max_tokens=_TOKENS,
        schema=forms.object_schema({"cards": cards}),
    )  # fmt: skip
    by_number = dict(enumerate(told, 1))
    for row in forms.json_object(reply.text).get("cards") or []:
        try:
            front, back, quote = row["front"], row["back"], by_number[int(row["sentence"])]
        except (KeyError, TypeError, ValueError):
            continue  # an endpoint that does not keep to schemas
        yield " ".join(str(front).split()), f"{' '.join(str(back).split())}\n\n> {quote}"


def _numbered(told: Sequence[str]) -> str:
    """Sentences as the model is to name them."""
    return "\n".join(f"{n}. {text}" for n, text in enumerate(told, 1))
