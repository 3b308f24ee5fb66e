"""Values passed between rooms: frozen, slotted, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]
RefusalReason = Literal["no_sources", "not_in_sources", "model_declined", "guarded", "limit"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


def wire(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as OpenAI's protocol and chat templates take them."""
    return [{"role": m.role, "content": m.content} for m in messages]


@dataclass(frozen=True, slots=True)
class Document:
    """One stored text. `version` is the first 16 hex digits of the text's sha256; offsets count its characters."""

    doc_id: str
    version: str
    title: str
    text: str
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage: `text == document.text[start:end]`. `headings` leads from the title down to the section."""

    chunk_id: str
    doc_id: str
    version: str
    start: int
    end: int
    text: str
    title: str
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk as one stage ranked it; `rank` counts from 1, `scores` holds what each earlier stage gave it."""

    chunk: Chunk
    score: float
    rank: int
    stage: str
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Citation:
    """A checked quotation: `document.text[start:end]` equals `quote` after whitespace normalisation.

    `source` is the 1-based number of the source it comes from, `sentence` the 0-based index of the answer's
    sentence it supports, `support` the attribution score in [0, 1].
    """

    doc_id: str
    version: str
    start: int
    end: int
    quote: str
    source: int
    sentence: int
    support: float


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an answer, `answer.text[start:end]`. `factual` ones need support; `supported` says whether they have it."""

    text: str
    start: int
    end: int
    factual: bool
    supported: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens one answer cost, summed over its model calls."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@dataclass(frozen=True, slots=True)
class Answer:
    """A grounded answer, or a refusal with its reason; `dropped_citations` counts those that failed the offset check."""

    question: str
    text: str
    refused: bool
    reason: RefusalReason | None
    sentences: tuple[Sentence, ...] = ()
    citations: tuple[Citation, ...] = ()
    sources: tuple[Hit, ...] = ()
    dropped_citations: int = 0
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    usage: Usage = Usage()
