"""Answers as HTML. Everything a model or a document says is escaped; only our own tags come out. Pure functions."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt

from core.types import Answer, Citation, Document, Hit
from rag.citations import MARKER
from rag.retriever import Search

# Private-use characters stand for chips while Markdown is rendered; they are taken out of foreign text first.
_OPEN, _CLOSE = "\ue000", "\ue001"
_PLACE = re.compile(f"{_OPEN}(\\w+){_CLOSE}")


def conversation(turns: Sequence[tuple[str, str]]) -> str:
    """All turns: `(question, answer HTML)`."""
    if not turns:
        return (
            '<div class="welcome"><h2>What would you like to understand?</h2>'
            "<p>Ask about anything on the NCA-GENL exam. Each answer cites the notes it rests on; "
            "select a number to read the passage.</p></div>"
        )
    return "".join(
        f'<section class="turn"><div class="question"><span class="sr">You asked: </span>{escape(question)}</div>'
        f'<div class="answer">{html}</div></section>'
        for question, html in turns
    )


def waiting(text: str) -> str:
    """A step under way."""
    return f'<p class="waiting" role="status"><span class="dot"></span>{escape(text)}</p>'


def streaming(text: str) -> str:
    """The answer so far, without the model's own markers."""
    return f'<div class="prose streaming">{markdown(MARKER.sub("", text))}</div>'


def notice(text: str) -> str:
    """A line about trouble."""
    return f'<p class="notice" role="alert">{escape(text)}</p>'


def done(text: str) -> str:
    """A line about what was done."""
    return f'<p class="done" role="status">{escape(text)}</p>'


def remembered(conversations: int, answered: int, right: int) -> str:
    """What is kept about the learner."""
    return (
        f'<dl class="times"><div><dt>Conversations</dt><dd>{conversations}</dd></div>'
        f"<div><dt>Practice answers</dt><dd>{answered}</dd></div><div><dt>Right</dt><dd>{right}</dd></div></dl>"
    )


def answer(given: Answer, searches: Sequence[Search], document: Callable[[str], Document], key: str) -> str:
    """The whole answer: prose with chips, the passages they open, and what was retrieved. `key` is unique to the turn."""
    if given.refused:
        body = f'<div class="prose refusal"><p>{escape(given.text)}</p></div>'
    else:
        body = f'<div class="prose">{_with_chips(given, key)}</div>'
    passages = "".join(
        f'<template id="{_passage_id(key, c)}">{passage(document(c.doc_id), c, given.sources[c.source - 1])}</template>'
        for c in given.citations
    )
    return body + passages + (inspector(given, searches) if searches else "")


def passage(doc: Document, citation: Citation, hit: Hit) -> str:
    """The note with the cited span marked."""
    return marked(doc, citation.start, citation.end, hit.chunk.headings)


def marked(doc: Document, start: int, end: int, headings: Sequence[str] = ()) -> str:
    """A note with one span marked, under its title and headings."""
    text = doc.text
    trail = " › ".join(dict.fromkeys([doc.title, *headings]))
    return (
        f'<p class="trail">{escape(trail)}</p><p class="file">{escape(doc.doc_id)}</p>'
        f'<div class="note">{escape(text[:start])}<mark>{escape(text[start:end])}</mark>{escape(text[end:])}</div>'
    )


def inspector(given: Answer, searches: Sequence[Search]) -> str:
    """Every stage's ranking with scores for each search, and the time each step of the last answer took."""
    found = "".join(
        f'<p class="query">Searched for: {escape(search.query)}</p><div class="stages">'
        + "".join(
            f'<div class="stage"><h4>{escape(name)}</h4><ol>{_ranking(hits)}</ol></div>'
            for name, hits in search.stages.items()
        )
        + "</div>"
        for search in searches
    )
    times = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{_seconds(ms)}</dd></div>"
        for name, ms in {**_retrieval_times(searches), **given.timings_ms}.items()
    )
    return f'<details class="inspector"><summary>What was retrieved</summary>{found}<dl class="times">{times}</dl></details>'


def trace(row: Mapping[str, Any]) -> str:
    """What the run did, step by step; each model call opens to its prompt and reply, and all of it is there as JSON."""
    steps = "".join(_step(span) for span in row["spans"])
    whole = json.dumps(row, ensure_ascii=False, indent=1)
    link = f"data:application/json;base64,{base64.b64encode(whole.encode()).decode()}"
    return (
        f'<details class="trace"><summary>What was done · {_seconds(row["ms"])}</summary><ol>{steps}</ol>'
        f'<a href="{link}" download="trace.json">Trace as JSON</a></details>'
    )


def _step(span: Mapping[str, Any]) -> str:
    detail = span["detail"]
    head = f"<b>{escape(span['kind'])}</b> {escape(span['name'].replace('_', ' '))} · {_seconds(span['ms'])}"
    if span["kind"] == "model":
        head += f" · {detail.get('prompt_tokens', 0)} + {detail.get('completion_tokens', 0)} tokens"
        said = "\n\n".join(f"[{m['role']}]\n{m['content']}" for m in detail.get("prompt", []))
        body = f"{said}\n\n[reply]\n{detail.get('reply', '')}"
    else:
        body = "\n".join(f"{name}: {value}" for name, value in detail.items())
    if not body.strip():
        return f"<li>{head}</li>"
    return f"<li><details><summary>{head}</summary><pre>{escape(body)}</pre></details></li>"


def _retrieval_times(searches: Sequence[Search]) -> dict[str, float]:
    found: dict[str, float] = {}
    for search in searches:
        for name, ms in search.timings_ms.items():
            found[name] = found.get(name, 0.0) + ms
    return found


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.2f} s" if ms >= 1000 else f"{ms:.0f} ms"


def markdown(text: str) -> str:
    """CommonMark and tables, with HTML shown as text, no images, and links to http(s) only."""
    return str(_parser().render(text))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable("image")
    parser.validateLink = lambda url: url.startswith(("http://", "https://"))  # type: ignore[method-assign]
    return parser


def _with_chips(given: Answer, key: str) -> str:
    cited = {c.sentence: c for c in given.citations}
    text, last = "", 0
    for n, sentence in enumerate(given.sentences):
        text += _plain(given.text[last : sentence.end])
        last = sentence.end
        if n in cited:
            text += f"{_OPEN}c{n}{_CLOSE}"
        elif sentence.factual:
            text += f"{_OPEN}u{_CLOSE}"
    html = markdown(text + _plain(given.text[last:]))

    def place(match: re.Match[str]) -> str:
        mark = match.group(1)
        return _unsupported() if mark == "u" else _chip(cited[int(mark[1:])], key)

    return _PLACE.sub(place, html)


def _plain(text: str) -> str:
    return text.replace(_OPEN, "").replace(_CLOSE, "")


def _chip(citation: Citation, key: str) -> str:
    return (
        f'<button type="button" class="chip" data-passage="{_passage_id(key, citation)}" '
        f'aria-label="Source {citation.source}: {escape(citation.doc_id)}" title="{escape(citation.doc_id)}">{citation.source}</button>'
    )


def _unsupported() -> str:
    return '<span class="unsupported" title="No source supports this sentence">not in sources</span>'


def _passage_id(key: str, citation: Citation) -> str:
    return f"passage-{escape(key)}-{citation.sentence}"


def _ranking(hits: Sequence[Hit]) -> str:
    return "".join(
        f'<li><b>{escape(hit.chunk.title)}</b> <span class="score">{hit.score:.3f}</span>'
        f"<br><small>{escape(' › '.join(hit.chunk.headings[1:]) or hit.chunk.doc_id)}</small></li>"
        for hit in hits
    )
