"""What foreign text says is shown, never run; chips stand where citations are."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from app import render
from core.types import Answer, Chunk, Citation, Document, Hit, Sentence

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) ![i](http://evil/x.png) ${1+1} {{7*7}}"
OURS = {
    "p", "br", "em", "strong", "code", "pre", "ul", "ol", "li", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "a", "table",
    "thead", "tbody", "tr", "th", "td", "div", "section", "span", "button", "template", "mark", "details", "summary", "dl", "dt", "dd", "b", "small",
}  # fmt: skip


class Tags(HTMLParser):
    """Collects tags and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _safe(html: str) -> None:
    for tag, attributes in Tags(html).tags:
        assert tag in OURS, tag
        assert not any(name.startswith("on") for name in attributes), attributes
        assert str(attributes.get("href", "http://")).startswith(("http://", "https://"))


@given(st.text() | st.just(EVIL))
def test_any_text_is_safe_everywhere(text: str) -> None:
    doc = Document("d<b>", "v", text or "t", text + "x")
    chunk = Chunk("0" * 16, "d<b>", "v", 0, len(doc.text), doc.text, text, (text, text))
    hit = Hit(chunk, 1.0, 1, "reranked")
    citation = Citation("d<b>", "v", 0, 1, doc.text[:1], 1, 0, 0.9)
    answer = Answer(
        text, doc.text, False, None, (Sentence(doc.text, 0, len(doc.text), True, True),), (citation,), (hit,)
    )
    from rag.retriever import Search

    html = render.answer(answer, [Search(text, (hit,), {"dense": (hit,)}, {})], lambda _: doc, "k")
    _safe(html)
    assert html.count('class="chip"') <= 1
    _safe(render.conversation([(text, render.streaming(text) + render.notice(text) + render.waiting(text))]))


def test_chips_follow_their_sentences_and_open_their_passages() -> None:
    doc = Document("n/a.md", "v", "A", "First fact here. Second fact here.")
    chunk = Chunk("0" * 16, "n/a.md", "v", 0, len(doc.text), doc.text, "A", ("A",))
    text = "One is said. **Two** is not said. Three is said."
    spans = [(0, 12), (13, 33), (34, 48)]
    sentences = tuple(Sentence(text[a:b], a, b, True, n != 1) for n, (a, b) in enumerate(spans))
    citations = (
        Citation("n/a.md", "v", 0, 16, "First fact here.", 1, 0, 0.9),
        Citation("n/a.md", "v", 17, 34, "Second fact here.", 1, 2, 0.8),
    )
    answer = Answer("q", text, False, None, sentences, citations, (Hit(chunk, 1, 1, "s"),))
    html = render.answer(answer, [], lambda _: doc, "k")
    tags = Tags(html).tags
    opened = [a["data-passage"] for t, a in tags if t == "button"]
    held = [a["id"] for t, a in tags if t == "template"]
    assert opened == held == ["passage-k-0", "passage-k-2"]
    assert html.index("One is said.") < html.index("passage-k-0") < html.index("<strong>Two</strong>")
    assert html.count("No source supports this sentence") == 1
    assert "<mark>Second fact here.</mark>" in html


def test_a_refusal_shows_no_chips() -> None:
    answer = Answer("q", "The notes do not hold this.", True, "not_in_sources")
    html = render.answer(answer, [], lambda _: Document("", "", "", ""), "k")
    assert "refusal" in html and "chip" not in html


def test_a_trace_shows_every_step_and_escapes_what_models_and_tools_said() -> None:
    spans = [
        {"kind": "tool", "name": "search_notes", "ms": 12.0, "detail": {"arguments": {"query": "<b>x</b>"}}},
        {"kind": "model", "name": "answer", "ms": 2500.0, "detail": {
            "prompt": [{"role": "system", "content": "rules"}, {"role": "user", "content": "<img src=x>"}],
            "reply": "<script>alert(1)</script>", "prompt_tokens": 7, "completion_tokens": 3}},
    ]  # fmt: skip
    html = render.trace({"question": "q", "ms": 2600.0, "spans": spans})
    assert "<script>" not in html and "<img" not in html and "<b>x</b>" not in html
    assert "2.60 s" in html and "7 + 3 tokens" in html and "search notes" in html
    coded = html.split("base64,")[1].split('"')[0]
    assert json.loads(base64.b64decode(coded))["spans"][1]["name"] == "answer"
