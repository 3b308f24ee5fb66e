"""A message of several questions: taken apart by code, answered part by part, put together with its citations. Pure.

A small model answers one question over a few sources well, and three at once badly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from core.types import Answer, Citation, Hit, Sentence, Usage

_ASKING = (
    r"(?:what|which|who|whose|when|where|why|how|whether|do|does|did|is|are|can|could|should|would|will|name|give|"
    r"explain|tell|list|describe|compare)"
)
_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z“\"(]|" + _ASKING + r"\b)", re.IGNORECASE)
_ASKS = re.compile(rf"\W*(?:(?:and|so|then|but|also|now|please)\b\W*)*{_ASKING}\b", re.IGNORECASE)
_JOIN = re.compile(
    r",?\s+(?:and then|and|then|but|or)\s+(?=(?:also\s+)?(?:what|which|who|whose|when|where|why|how|whether|"
    r"(?:does|do|is|are|can|should|would|will|did)\s+(?:it|they|that|this|there|the|a|an|my|i|we|one)\b)\b)|"
    r",\s+(?=(?:what|which|who|why|how|where|when)\b)",
    re.IGNORECASE,
)
_LEANS = re.compile(
    r"\b(?:it|its|this|that|these|those|they|them|their|one|ones|both|either|neither|each|latter|former|two|so|then|there|"
    r"second|first|other|same)\b|^\W*(?:and |so )?which (?:is|are|was|would|should|do|does|can|has)\b",
    re.IGNORECASE,
)
_MIN_WORDS = 4


@dataclass(frozen=True, slots=True)
class Part:
    """One question of a message; `leans` where it points at the parts before it."""

    text: str
    leans: bool = False


def split(message: str, most: int) -> list[Part]:
    """The questions of a message in order, at most so many (the last takes the rest). A message of one is one part.

    Sentences that ask nothing are kept before the question that follows them.
    """
    asked: list[str] = []
    context = ""
    for sentence in _SENTENCE.split(" ".join(message.split())):
        if not (sentence.endswith("?") or _ASKS.match(sentence)):
            context = f"{context} {sentence}".strip()
            continue
        pieces = _pieces(sentence)
        asked += [f"{context} {pieces[0]}".strip(), *pieces[1:]]
        context = ""
    if context and asked:
        asked[-1] = f"{asked[-1]} {context}"
    if len(asked) <= 1:
        return [Part(message)]
    if len(asked) > most:
        asked = [*asked[: most - 1], " ".join(asked[most - 1 :])]
    return [Part(text, n > 0 and _LEANS.search(text) is not None) for n, text in enumerate(asked)]


def merged(question: str, parts: Sequence[Part], answers: Sequence[Answer]) -> Answer:
    """The parts' answers as one: texts in order, sentences, citations and sources numbered anew.

    What the notes do not answer is said so; where they answer no part, the first part's refusal is the answer.
    """
    text = ""
    sentences: list[Sentence] = []
    citations: list[Citation] = []
    sources: dict[str, Hit] = {}
    usage, timings = Usage(), dict[str, float]()
    for part, answer in zip(parts, answers, strict=True):
        usage += answer.usage
        for name, ms in answer.timings_ms.items():
            timings[name] = timings.get(name, 0.0) + ms
        for hit in answer.sources:
            sources.setdefault(hit.chunk.chunk_id, hit)
        text += "\n\n" if text else ""
        if answer.refused:
            said = f"The notes do not answer “{part.text}”."
            sentences.append(Sentence(said, len(text), len(text) + len(said), False, False))
            text += said
            continue
        answer = _unsaid(answer, {sentence.text for sentence in sentences})
        numbers = {hit.chunk.chunk_id: n for n, hit in enumerate(sources.values(), 1)}
        citations += [
            replace(
                c, sentence=c.sentence + len(sentences), source=numbers[answer.sources[c.source - 1].chunk.chunk_id]
            )
            for c in answer.citations
        ]
        sentences += [replace(s, start=s.start + len(text), end=s.end + len(text)) for s in answer.sentences]
        text += answer.text
    if all(answer.refused for answer in answers):
        return replace(answers[0], question=question, sources=tuple(sources.values()), usage=usage, timings_ms=timings)
    dropped = sum(answer.dropped_citations for answer in answers)
    return Answer(
        question,
        text,
        False,
        None,
        tuple(sentences),
        tuple(citations),
        tuple(sources.values()),
        dropped,
        timings,
        usage,
    )


def _unsaid(answer: Answer, said: Set[str]) -> Answer:
    """The answer without the sentences that were said before, while any is left."""
    kept = [n for n, sentence in enumerate(answer.sentences) if sentence.text not in said]
    if not kept or len(kept) == len(answer.sentences):
        return answer
    starts = [*(sentence.start for sentence in answer.sentences), len(answer.text)]
    text = ""
    sentences = []
    for n in kept:
        sentence = answer.sentences[n]
        sentences.append(replace(sentence, start=len(text), end=len(text) + len(sentence.text)))
        text += answer.text[sentence.start : starts[n + 1]]
    at = {n: new for new, n in enumerate(kept)}
    citations = tuple(replace(c, sentence=at[c.sentence]) for c in answer.citations if c.sentence in at)
    return replace(answer, text=text.rstrip(), sentences=tuple(sentences), citations=citations)


def _pieces(sentence: str) -> list[str]:
    """A sentence cut where a new question begins; what asks nothing by itself, or in few words, stays with its neighbour."""
    joins = list(_JOIN.finditer(sentence))
    starts, ends = [0, *(join.end() for join in joins)], [*(join.start() for join in joins), len(sentence)]
    pieces: list[tuple[int, int]] = []
    for start, end in zip(starts, ends, strict=True):
        if pieces:
            before, words = sentence[slice(*pieces[-1])], len(sentence[start:end].split())
            if words < _MIN_WORDS or len(before.split()) < _MIN_WORDS or not _ASKS.match(before):
                pieces[-1] = (pieces[-1][0], end)
                continue
        pieces.append((start, end))
    return [sentence[start:end].strip() for start, end in pieces]
