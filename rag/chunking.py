"""Documents cut into chunks that keep their offsets: `chunk.text == document.text[chunk.start:chunk.end]`.

Three strategies: `structure` packs whole blocks (paragraphs, lists, fenced code) of one section; `sentence` packs
sentences and ignores sections; `window` slides a fixed width. Headings travel beside the text, in `Chunk.headings`.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator

from core.types import Chunk, Document
from rag.config import ChunkSettings

Span = tuple[int, int]

_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$")
_FENCE = re.compile(r"^[ \t]*(```+|~~~+)")
# A sentence ends at . ! or ? (with closing quotes or brackets) before white space and something that starts a sentence.
_SENTENCE_END = re.compile(
    r"(?<=[.!?])[\"'”’)\]*_`]*\s+(?=[\"'“‘(\[*_`]*[A-Z0-9])|\n\s*\n|\n(?=\s*(?:[-*+]|\d+[.)])\s)"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|al|Fig|Eq|Dr|Mr|Ms|No|approx|pp|vol|ca)|\b[A-Z])\.\s*$|(?:\A|\n)\s*\d{1,2}\.\s*\Z"
)


def chunk_document(document: Document, settings: ChunkSettings) -> list[Chunk]:
    """The chunks of one document in reading order; every non-blank character outside headings is in at least one."""
    text, limit = document.text, settings.chunk_chars
    spans: list[tuple[Span, tuple[str, ...]]] = []
    if settings.strategy == "window":
        spans = [(span, ()) for span in _windows(text, (0, len(text)), limit, settings.overlap_chars)]
    elif settings.strategy == "sentence":
        pieces = [piece for span in sentences(text) for piece in _windows(text, span, limit, 0)]
        spans = [(span, ()) for span in _pack(pieces, limit, settings.overlap_chars)]
    else:
        for section, headings in _sections(text):
            pieces = [p for block in _blocks(text, section) for p in _fit(text, block, limit)]
            spans += [(span, headings) for span in _pack(pieces, limit, settings.overlap_chars)]
    seen: Counter[str] = Counter()
    chunks = []
    for span, headings in spans:
        start, end = _strip(text, span)
        if start < end:
            chunks.append(_chunk(document, start, end, headings, seen))
    return chunks


def contextual_text(chunk: Chunk) -> str:
    """What is embedded and indexed: the title and headings that the passage stands under, then the passage."""
    context = [chunk.title, *(h for h in chunk.headings if h != chunk.title)]
    return " > ".join(context) + "\n" + chunk.text


def sentences(text: str, span: Span | None = None) -> list[Span]:
    """Spans of the sentences and list items in `text[span]`, without surrounding white space."""
    start, end = span or (0, len(text))
    cuts, last = [], start
    for match in _SENTENCE_END.finditer(text, start, end):
        if "\n" not in match.group() and _ABBREVIATION.search(text[max(last, match.start() - 12) : match.start() + 1]):
            continue
        cuts.append((last, match.start()) if match.group().isspace() else (last, match.end()))
        last = match.end()
    cuts.append((last, end))
    return [s for s in (_strip(text, cut) for cut in cuts) if s[0] < s[1]]


def _chunk(document: Document, start: int, end: int, headings: tuple[str, ...], seen: Counter[str]) -> Chunk:
    # The id follows the content, not the position: an edit elsewhere in the document leaves it, and its vector, alone.
    content = "\0".join((document.doc_id, document.title, *headings, document.text[start:end]))
    seen[content] += 1
    digest = hashlib.sha256(f"{content}\0{seen[content]}".encode()).hexdigest()[:16]
    return Chunk(
        digest, document.doc_id, document.version, start, end, document.text[start:end], document.title, headings
    )


def _strip(text: str, span: Span) -> Span:
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _lines(text: str, span: Span) -> Iterator[tuple[Span, str, bool]]:
    """Each line's span and text, and whether it is part of fenced code."""
    fence, position = "", span[0]
    for line in text[span[0] : span[1]].splitlines(keepends=True):
        match = _FENCE.match(line)
        inside = bool(fence)
        if match and not fence:
            fence, inside = match.group(1), True
        elif match and match.group(1).startswith(fence) and not line.strip().strip("`~"):
            fence = ""
        yield (position, position + len(line)), line, inside
        position += len(line)


def _sections(text: str) -> list[tuple[Span, tuple[str, ...]]]:
    """Stretches between headings, each with the trail of headings above it. Heading lines stay out of the body."""
    out: list[tuple[Span, tuple[str, ...]]] = []
    trail: list[tuple[int, str]] = []
    start = 0
    for (line_start, line_end), line, fenced in _lines(text, (0, len(text))):
        match = None if fenced else _HEADING.match(line.rstrip("\n"))
        if match:
            out.append(((start, line_start), tuple(h for _, h in trail)))
            level = len(match.group(1))
            trail = [*(t for t in trail if t[0] < level), (level, match.group(2).strip())]
            start = line_end
    out.append(((start, len(text)), tuple(h for _, h in trail)))
    return [(span, headings) for span, headings in out if text[span[0] : span[1]].strip()]


def _blocks(text: str, section: Span) -> list[Span]:
    """Paragraphs, and fenced code kept whole."""
    blocks: list[Span] = []
    start: int | None = None
    for (line_start, line_end), line, fenced in _lines(text, section):
        if line.strip() or fenced:
            start = line_start if start is None else start
            end = line_end
        elif start is not None:
            blocks.append((start, end))
            start = None
    return blocks + ([(start, end)] if start is not None else [])


def _fit(text: str, block: Span, limit: int) -> list[Span]:
    """The block itself, or its sentences or windows where it is longer than the limit."""
    if block[1] - block[0] <= limit:
        return [block]
    return [piece for span in sentences(text, block) for piece in _windows(text, span, limit, 0)]


def _pack(pieces: list[Span], limit: int, overlap: int) -> list[Span]:
    """Neighbours joined up to `limit`; each span starts with the last pieces of the one before, up to `overlap`."""
    out: list[Span] = []
    first = 0
    for i, (_, end) in enumerate(pieces):
        following = pieces[i + 1][1] if i + 1 < len(pieces) else None
        if following is not None and following - pieces[first][0] <= limit:
            continue
        out.append((pieces[first][0], end))
        first = i + 1
        while (
            following is not None
            and first > 0
            and end - pieces[first - 1][0] <= overlap
            and following - pieces[first - 1][0] <= limit
        ):
            first -= 1
    return out


def _windows(text: str, span: Span, limit: int, overlap: int) -> list[Span]:
    """Fixed-width cuts, moved back to white space so that no word is split (unless a word is longer than the limit)."""
    start, end = span
    out = []
    while end - start > limit:
        cut = start + limit
        space = max(text.rfind(" ", start + limit // 2, cut), text.rfind("\n", start + limit // 2, cut))
        cut = space if space > start else cut
        out.append((start, cut))
        back = cut - overlap
        space = text.find(" ", back, cut) if overlap else -1
        start = max(space + 1 if space >= 0 else back, start + 1)
    return [*out, (start, end)]
