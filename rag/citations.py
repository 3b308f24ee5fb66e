"""Which span of which source supports each sentence of an answer, found and checked in code, not by the model.

A citation exists only if `document.text[start:end]` equals its quote after whitespace normalisation. The model's own
`[n]` markers are a hint worth a little; a sentence that no span supports is marked so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.types import Citation, Document, Hit, Sentence
from rag.chunking import sentences
from rag.embedding import Floats

MARKER = re.compile(r"[ \t]*\[(?:source\s*)?(\d{1,2})(?:\s*[,;]\s*(?:source\s*)?\d{1,2})*\]", re.IGNORECASE)
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])\d(?:[\d,]*\d)?(?:\.\d+)?")
_YEAR = re.compile(r"(?<![\w.])(?:19|20)\d\d(?!\w)")
_CLAUSE = re.compile(r"[,;:](?!\d)|\b(?:and|while|whereas|but|or)\b", re.IGNORECASE)
_CLAUSE_SHARE = 0.4
_TAKEN_WORDS = 1
_MARKER_BONUS = 0.05
_FURTHER_SENTENCE = 0.02
_MAX_SPAN_SENTENCES = 3


@dataclass(frozen=True, slots=True)
class Attribution:
    """The answer without model markers, its sentences, their citations, and how many citations failed the check."""

    text: str
    sentences: tuple[Sentence, ...]
    citations: tuple[Citation, ...]
    dropped: int


@dataclass(frozen=True, slots=True)
class _Span:
    source: int
    start: int
    end: int
    text: str
    sentences: tuple[str, ...]


def valid(citation: Citation, document: Document) -> bool:
    """Whether the quote is what the document says at those offsets, white space aside."""
    return citation.version == document.version and says(document, citation.start, citation.end, citation.quote)


def says(document: Document, start: int, end: int, quote: str) -> bool:
    """Whether `quote`, which is not blank, is what the document says from `start` to `end`, white space aside."""
    if not 0 <= start < end <= len(document.text):
        return False
    return document.text[start:end].split() == quote.split() != []


def attribute(
    text: str,
    sources: Sequence[Hit],
    documents: Callable[[str], Document],
    encode: Callable[[Sequence[str]], Floats],
    stems: Callable[[Sequence[str]], list[list[str]]],
    threshold: float,
    question: str = "",
) -> Attribution:
    """Matches each factual sentence of `text` to its best supporting span among `sources`.

    Support is the mean of two views in [0, 1]: cosine between sentence and span embeddings, and the share of the
    sentence's stems that the span (with its headings) holds. One sentence that says it all is preferred to several.
    A number that the span lacks halves the support, and so do numbers of one clause that the span states in different
    sentences, or away from the words the answer puts beside them: a right sentence about a wrong figure is not
    supported, nor one that welds two right ones together. A
    year that the answer takes over from the question needs no support where the span names no year.
    """
    clean, pieces, hints = _pieces(text)
    spans = [span for number, hit in enumerate(sources, 1) for span in _spans(number, hit)]
    asked = [i for i, (_, factual) in enumerate(pieces) if factual]
    premise = set(_YEAR.findall(question))
    support = _support([clean[a:b] for (a, b), _ in (pieces[i] for i in asked)], spans, sources, encode, stems, premise)
    found: dict[int, Citation] = {}
    dropped = 0
    for row, i in enumerate(asked):
        if not spans:
            break
        scores = support[row] + np.array([_MARKER_BONUS if span.source in hints[i] else 0.0 for span in spans])
        best = int(np.argmax(scores))
        # The hint chooses between spans; it cannot make one out of nothing.
        if support[row, best] < threshold:
            continue
        span, hit = spans[best], sources[spans[best].source - 1]
        citation = Citation(
            hit.chunk.doc_id,
            hit.chunk.version,
            span.start,
            span.end,
            span.text,
            span.source,
            i,
            float(min(1.0, support[row, best])),
        )
        if valid(citation, documents(hit.chunk.doc_id)):
            found[i] = citation
        else:
            dropped += 1
    out = tuple(Sentence(clean[a:b], a, b, factual, i in found) for i, ((a, b), factual) in enumerate(pieces))
    return Attribution(clean, out, tuple(found.values()), dropped)


def _pieces(text: str) -> tuple[str, list[tuple[tuple[int, int], bool]], list[set[int]]]:
    """The text without markers; its sentences with whether each states a fact; the sources the model named for each."""
    clean, position_hints, last = "", [], 0
    for match in MARKER.finditer(text):
        clean += text[last : match.start()]
        last = match.end()
        position_hints.append((len(clean), {int(n) for n in re.findall(r"\d+", match.group())}))
    clean = (clean + text[last:]).rstrip()
    lead = len(clean) - len(clean.lstrip())
    clean, position_hints = clean.lstrip(), [(at - lead, numbers) for at, numbers in position_hints]
    pieces: list[tuple[tuple[int, int], bool]] = []
    at = 0
    for fence in _FENCED.finditer(clean):
        pieces += [(span, _factual(clean[span[0] : span[1]])) for span in sentences(clean, (at, fence.start()))]
        pieces.append((fence.span(), False))
        at = fence.end()
    pieces += [(span, _factual(clean[span[0] : span[1]])) for span in sentences(clean, (at, len(clean)))]
    hints: list[set[int]] = [set() for _ in pieces]
    for position, numbers in position_hints:
        # A marker follows its sentence, before or after the full stop.
        before = [i for i, ((start, _), _) in enumerate(pieces) if start < position]
        if before:
            hints[before[-1]] |= numbers
    return clean, pieces, hints


def _factual(sentence: str) -> bool:
    """False for questions, headings, lead-ins that end in a colon, and scraps of fewer than three words."""
    words = re.findall(r"[^\W_]+", sentence)
    return len(words) >= 3 and not sentence.rstrip("*_ ").endswith(("?", ":")) and not sentence.startswith("#")


def _spans(number: int, hit: Hit) -> list[_Span]:
    """Runs of one to three neighbouring sentences of a source, with offsets into its document."""
    text, base = hit.chunk.text, hit.chunk.start
    parts = sentences(text)
    texts = [text[a:b] for a, b in parts]
    out = []
    for first in range(len(parts)):
        for last in range(first, min(first + _MAX_SPAN_SENTENCES, len(parts))):
            start, end = parts[first][0], parts[last][1]
            out.append(_Span(number, base + start, base + end, text[start:end], tuple(texts[first : last + 1])))
    return out


def _numbers(text: str) -> set[str]:
    """The figures in a text, without thousands separators."""
    return {n.replace(",", "") for n in _NUMBER.findall(text)}


@dataclass(frozen=True, slots=True)
class _Words:
    """The figures and the stems of a sentence or a clause."""

    numbers: set[str]
    stems: set[str]


def _states(
    held: Sequence[_Words], source: Sequence[_Words], headings: set[str], clauses: Sequence[_Words], given: set[str]
) -> bool:
    """Whether each clause with figures finds them in one sentence of the span, beside enough of its words.

    Where another sentence of the source, without those figures, has clearly more of the words, the clause has taken the
    words from there and the figures from here.
    """

    def words(clause: _Words, sentence: _Words) -> int:
        return len(clause.stems & (sentence.stems | headings))

    for clause in clauses:
        figures = clause.numbers - given
        if not figures:
            continue
        beside = max((words(clause, s) for s in held if figures <= s.numbers), default=-1)
        elsewhere = max((words(clause, s) for s in source if not figures & s.numbers), default=0)
        if beside < _CLAUSE_SHARE * len(clause.stems) or elsewhere - beside > _TAKEN_WORDS:
            return False
    return True


def _support(
    asked: Sequence[str],
    spans: Sequence[_Span],
    sources: Sequence[Hit],
    encode: Callable[[Sequence[str]], Floats],
    stems: Callable[[Sequence[str]], list[list[str]]],
    premise: set[str],
) -> Floats:
    """Support of every asked sentence by every span, float32 [asked, spans]."""
    if not asked or not spans:
        return np.zeros((len(asked), len(spans)), np.float32)
    vectors = encode([*asked, *(s.text for s in spans)])
    cosine = np.clip(vectors[: len(asked)] @ vectors[len(asked) :].T, 0, 1)
    asked_stems = [set(s) for s in stems(asked)]
    context = [set(s) for s in stems([" ".join((h.chunk.title, *h.chunk.headings)) for h in sources])]
    single = [span for span in spans if len(span.sentences) == 1]
    words_of = {
        span.text: _Words(_numbers(span.text), set(found))
        for span, found in zip(single, stems([span.text for span in single]), strict=True)
    }
    source_words = {n: [words_of[s.text] for s in single if s.source == n] for n in range(1, len(sources) + 1)}
    support = np.zeros_like(cosine)
    for i, words in enumerate(asked_stems):
        parts = [part for part in _CLAUSE.split(asked[i]) if part.strip()]
        clauses = [_Words(_numbers(t), set(s)) for t, s in zip(parts, stems(parts), strict=True)]
        for j, span in enumerate(spans):
            held = [words_of[sentence] for sentence in span.sentences]
            shared = words & context[span.source - 1].union(*(sentence.stems for sentence in held))
            covered = len(shared) / len(words) if words else 0.0
            # A long span covers more words by chance: a little off for each further sentence's worth.
            length = 0.02 * max(0.0, len(span.text) / max(80, len(asked[i])) - 1)
            off = min(length, 0.1) + _FURTHER_SENTENCE * (len(span.sentences) - 1)
            given = premise if premise and not _YEAR.search(span.text) else set()
            stated = _states(held, source_words[span.source], context[span.source - 1], clauses, given)
            support[i, j] = max(0.0, (cosine[i, j] + covered) / 2 - off) * (1.0 if stated else 0.5)
    return support.astype(np.float32)
