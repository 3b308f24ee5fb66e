"""Chunks keep their offsets, lose nothing, and stay within their size, whatever the text."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.chunking import chunk_document, contextual_text, sentences
from rag.config import ChunkSettings
from rag.documents import document

STRATEGIES: tuple[Literal["structure", "sentence", "window"], ...] = ("structure", "sentence", "window")
BLOCKS = st.sampled_from(
    [
        "# Title",
        "## Part one",
        "### Detail",
        "A plain sentence about tensors. Another one, with 3.5 in it! Is this a third?",
        "- first item\n- second item that is longer\n- third",
        "```python\n# not a heading\n\nx = 1\n```",
        "word " * 80,
        "x" * 400,
        "",
        "Ünïcödé – “quoted” text…",
    ]
)
MARKDOWN = st.lists(BLOCKS | st.text(max_size=60), max_size=12).map("\n\n".join)


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(text=MARKDOWN)
def test_offsets_are_exact_and_every_character_is_kept(
    strategy: Literal["structure", "sentence", "window"], text: str
) -> None:
    doc = document("d", "Title", text)
    chunks = chunk_document(doc, ChunkSettings(strategy=strategy, chunk_chars=200, overlap_chars=50))
    covered = set()
    for chunk in chunks:
        assert chunk.text == doc.text[chunk.start : chunk.end]
        assert 0 < len(chunk.text) <= 200
        covered |= set(range(chunk.start, chunk.end))
    missed = "".join(ch for i, ch in enumerate(doc.text) if i not in covered and not ch.isspace())
    if strategy == "structure":  # heading lines live in Chunk.headings
        kept = "".join("".join(c.headings) for c in chunks)
        headings = "".join(line for line in doc.text.splitlines() if line.startswith("#"))
        assert len(missed) <= len("".join(headings.split())) + len("".join(kept.split()))
    else:
        assert missed == ""
    assert len({c.chunk_id for c in chunks}) == len(chunks)


def test_structure_follows_headings_and_leaves_fenced_code_alone() -> None:
    doc = document(
        "d", "Guide", "# Guide\nIntro.\n\n## Setup\n```sh\n# a comment, no heading\nmake\n```\n\n## Use\nRun it.\n"
    )
    chunks = chunk_document(doc, ChunkSettings())
    assert [c.headings for c in chunks] == [("Guide",), ("Guide", "Setup"), ("Guide", "Use")]
    assert chunks[1].text.startswith("```sh\n# a comment")
    assert contextual_text(chunks[1]).startswith("Guide > Setup\n")


def test_an_edit_elsewhere_keeps_a_chunk_id() -> None:
    before = chunk_document(document("d", "T", "# A\nOne.\n\n# B\nTwo.\n"), ChunkSettings())
    after = chunk_document(document("d", "T", "# A\nOne changed.\n\n# B\nTwo.\n"), ChunkSettings())
    assert before[0].chunk_id != after[0].chunk_id
    assert before[1].chunk_id == after[1].chunk_id
    assert before[1].start != after[1].start


def test_sentences_respect_abbreviations_numbers_and_lists() -> None:
    text = (
        "Use FP8, e.g. E4M3. It has 3.5 bits? See Fig. 2 for more. Use port 8002. Then go.\n- first item\n- second item"
    )
    assert [text[a:b] for a, b in sentences(text)] == [
        "Use FP8, e.g. E4M3.",
        "It has 3.5 bits?",
        "See Fig. 2 for more.",
        "Use port 8002.",
        "Then go.",
        "- first item",
        "- second item",
    ]
