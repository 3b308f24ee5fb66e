"""Messages of several questions: where they are cut, and what is put together again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.parts import Part, merged, split
from core.types import Answer, Chunk, Citation, Hit, Sentence


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("What is LoRA?", ["What is LoRA?"]),
        ("Name the rails and ports of both", ["Name the rails and ports of both"]),
        ("What is BLEU? And how does ROUGE differ from it?", ["What is BLEU?", "*And how does ROUGE differ from it?"]),
        ("Which port is gRPC's and which one is for the metrics of it?", ["Which port is gRPC's", "*which one is for the metrics of it?"]),
        ("I own one GPU. What fits? Does a 7B model run on it?", ["I own one GPU. What fits?", "*Does a 7B model run on it?"]),
        ("If nothing changes, what happens then?", ["If nothing changes, what happens then?"]),
        ("Our bot makes things up, how do we stop that?", ["Our bot makes things up, how do we stop that?"]),
        ("What is A? What is B? What is C? What is D?", ["What is A?", "What is B?", "What is C? What is D?"]),
    ],
)  # fmt: skip
def test_where_a_message_is_cut(message: str, parts: list[str]) -> None:
    assert [("*" if p.leans else "") + p.text for p in split(message, 3)] == parts


@given(st.text(alphabet="abc ?.!,andwhich", max_size=200), st.integers(1, 4))
def test_no_word_is_lost(message: str, most: int) -> None:
    parts = split(message, most)
    assert 1 <= len(parts) <= most
    kept = sorted("".join(c for p in parts for c in p.text if c.isalpha()))
    left = sorted(c for c in message if c.isalpha())
    # Only the words that join two questions go.
    gone = len(left) - len(kept)
    assert 0 <= gone <= 7 * (len(parts) - 1) + (3 if len(parts) > 1 else 0) * message.count("and")


def _hit(name: str) -> Hit:
    text = f"Fact of {name}."
    return Hit(Chunk(name, f"{name}.md", "v", 0, len(text), text, name), 1.0, 1, "dense")


def _answer(text: str, *hits: Hit, refused: bool = False) -> Answer:
    if refused:
        return Answer("q", "No.", True, "model_declined", sources=hits)
    cited = Citation(hits[-1].chunk.doc_id, "v", 0, 4, "Fact", len(hits), 0, 0.9)
    return Answer("q", text, False, None, (Sentence(text, 0, len(text), True, True),), (cited,), hits)


def test_citations_and_sentences_are_numbered_anew() -> None:
    a, b = _hit("a"), _hit("b")
    parts = [Part("one?"), Part("two?"), Part("three?")]
    made = merged("all", parts, [_answer("Alpha.", a), _answer("", b, refused=True), _answer("Beta, more.", b, a)])
    assert not made.refused and [h.chunk.chunk_id for h in made.sources] == ["a", "b"]
    assert all(made.text[s.start : s.end] == s.text for s in made.sentences)
    assert "do not answer “two?”" in made.text
    for citation in made.citations:
        assert made.sources[citation.source - 1].chunk.doc_id == citation.doc_id
    assert [made.sentences[c.sentence].text for c in made.citations] == ["Alpha.", "Beta, more."]
    again = _answer("Alpha.", a)
    longer = replace(again, text="Alpha. Gamma.", sentences=(*again.sentences, Sentence("Gamma.", 7, 13, True, False)))
    once = merged("all", parts[:2], [again, longer])
    assert once.text == "Alpha.\n\nGamma." and len(once.citations) == 1
    assert all(once.text[s.start : s.end] == s.text for s in once.sentences)
    assert merged("all", parts[:2], [_answer("", a, refused=True)] * 2).refused
