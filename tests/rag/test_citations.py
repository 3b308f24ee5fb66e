"""A citation shown is a quotation that holds; a sentence nothing supports is not given one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import Chunk, Citation, Document, Hit
from rag.chunking import chunk_document
from rag.citations import Attribution, attribute, valid
from rag.config import ChunkSettings, LexicalSettings
from rag.documents import document
from rag.embedding import Embedder, Floats
from rag.lexical import Lexical

DOC = document(
    "notes/triton.md",
    "Triton",
    "# Triton\n\nTriton listens for HTTP on port 8000 and for gRPC on port 8001. Metrics are served on port 8002.\n\n"
    "Dynamic batching joins requests that arrive close together into one batch.\n",
)
OTHER = document(
    "notes/lora.md", "LoRA", "# LoRA\n\nLoRA trains two small matrices of rank r beside a frozen weight matrix.\n"
)


def _hits(*docs: Document) -> list[Hit]:
    chunks = [c for d in docs for c in chunk_document(d, ChunkSettings())]
    return [Hit(c, 1.0, n, "reranked") for n, c in enumerate(chunks, 1)]


def _attribute(text: str, encode_with: Embedder, *docs: Document, question: str = "") -> Attribution:
    by_id = {d.doc_id: d for d in docs}

    def encode(texts: Sequence[str]) -> Floats:
        return encode_with.encode(texts, tokens=False)[0]

    stems = Lexical.build(["x"], LexicalSettings()).tokens
    return attribute(text, _hits(*docs), by_id.__getitem__, encode, stems, 0.5, question)


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    from serving.weights import ensure

    return Embedder(ensure("all-minilm-l6-v2"), "all-minilm-l6-v2")


def test_a_paraphrase_is_attributed_without_any_marker(minilm: Embedder) -> None:
    found = _attribute("Triton accepts HTTP requests on port 8000.", minilm, OTHER, DOC)
    (citation,) = found.citations
    assert citation.doc_id == "notes/triton.md"
    assert "port 8000" in citation.quote
    assert DOC.text[citation.start : citation.end] == citation.quote


def test_a_wrong_marker_does_not_mislead(minilm: Embedder) -> None:
    found = _attribute("Metrics are served on port 8002 [1].", minilm, OTHER, DOC)
    assert found.citations[0].doc_id == "notes/triton.md"
    assert "[1]" not in found.text and found.text == "Metrics are served on port 8002."


def test_a_wrong_number_is_not_supported(minilm: Embedder) -> None:
    found = _attribute("Triton accepts HTTP requests on port 9999.", minilm, DOC)
    assert found.citations == ()
    assert [s.supported for s in found.sentences] == [False]


WELD = document(
    "notes/memory.md",
    "Memory for training",
    "# Memory for training\n\nQLoRA on a 7B model needs about 4.5 GB for its weights. "
    "Full fine-tuning with Adam needs 16 bytes for each parameter, 108 GB for 6.74 billion parameters.\n",
)


def test_two_facts_welded_into_a_false_one_are_not_supported(minilm: Embedder) -> None:
    weld = "QLoRA needs about 4.5 GB for full fine-tuning with Adam of 6.74 billion parameters at 16 bytes each."
    assert _attribute(weld, minilm, WELD).citations == ()
    fair = "QLoRA needs about 4.5 GB for the weights of a 7B model, while full fine-tuning with Adam needs 108 GB."
    assert _attribute(fair, minilm, WELD).citations


def test_a_year_taken_over_from_the_question_needs_no_support_unless_the_source_has_another(minilm: Embedder) -> None:
    text, asked = "In 2026 Triton listens for HTTP on port 8000.", "Where does Triton listen for HTTP in 2026?"
    assert _attribute(text, minilm, DOC).citations == ()
    assert _attribute(text, minilm, DOC, question=asked).citations
    dated = document("d", "Triton", "# Triton\n\nIn 2018 Triton listened for HTTP on port 8000.\n")
    assert _attribute(text, minilm, dated, question=asked).citations == ()


def test_the_one_sentence_that_says_it_is_cited_alone(minilm: Embedder) -> None:
    (citation,) = _attribute("Metrics are available on port 8002.", minilm, DOC).citations
    assert citation.quote == "Metrics are served on port 8002."


def test_an_unrelated_sentence_is_marked_unsupported(minilm: Embedder) -> None:
    text = "Metrics are served on port 8002. The Eiffel Tower was finished in Paris long ago."
    found = _attribute(text, minilm, DOC)
    assert [(s.factual, s.supported) for s in found.sentences] == [(True, True), (True, False)]


def test_questions_and_lead_ins_need_no_support(minilm: Embedder) -> None:
    found = _attribute("Here is what the notes say:\n\nShall we go on to the next topic?", minilm, DOC)
    assert [s.factual for s in found.sentences] == [False, False]


def test_the_check_refuses_what_does_not_match() -> None:
    start = DOC.text.index("Metrics")
    good = Citation(DOC.doc_id, DOC.version, start, start + 7, "Metrics", 1, 0, 1.0)
    assert valid(good, DOC)
    assert valid(replace(good, end=start + 18, quote="Metrics  are\nserved"), DOC)  # white space aside
    assert not valid(replace(good, quote="metrics"), DOC)
    assert not valid(replace(good, start=start + 1), DOC)
    assert not valid(replace(good, version="0" * 16), DOC)
    assert not valid(replace(good, start=0, end=10**6), DOC)


def test_a_citation_into_another_version_is_dropped_and_counted(minilm: Embedder) -> None:
    newer = document(DOC.doc_id, DOC.title, "Changed. " + DOC.text)
    stems = Lexical.build(["x"], LexicalSettings()).tokens
    found = attribute(
        "Metrics are served on port 8002.",
        _hits(DOC),
        lambda _: newer,
        lambda t: minilm.encode(t, tokens=False)[0],
        stems,
        0.5,
    )
    assert found.citations == () and found.dropped == 1


@given(st.text(alphabet=st.sampled_from("ab. !?\n[]1-#`*é"), max_size=200))
def test_any_answer_gives_sentences_that_are_its_own_text(text: str) -> None:
    def encode(texts: Sequence[str]) -> Floats:
        vectors = np.ones((len(texts), 4), np.float32)
        return vectors / 2

    chunk = Chunk("0" * 16, "d", "v", 0, 5, "a b a", "t")
    doc = Document("d", "v", "t", "a b a")
    found = attribute(text, [Hit(chunk, 1, 1, "s")], lambda _: doc, encode, lambda ts: [t.split() for t in ts], 0.5)
    for sentence in found.sentences:
        assert found.text[sentence.start : sentence.end] == sentence.text
    assert all(valid(c, doc) for c in found.citations)
    assert found.dropped == 0


def test_offsets_point_into_the_document_not_the_chunk(tmp_path: Path, minilm: Embedder) -> None:
    long = document(
        "long", "Long", "# Long\n\n" + "Filler words go here. " * 100 + "\n\n## End\n\nThe warp size is 32 threads.\n"
    )
    found = _attribute("The warp size is 32 threads.", minilm, long)
    assert long.text[found.citations[0].start : found.citations[0].end] == "The warp size is 32 threads."


QLORA = document(
    "notes/qlora.md",
    "QLoRA",
    "# QLoRA\n\nWeights and training state together take about 4.5 GB.\n\nThe same model needs about 108 GB of model states "
    "for full fine-tuning with Adam and about 14 GB for LoRA over a BF16 base. A 70B base at 4.127 bits takes about 36 GB.\n",
)


@pytest.mark.parametrize(
    ("sentence", "supported"),
    [
        ("Full fine-tuning with Adam needs about 108 GB of model states.", True),
        ("LoRA over a BF16 base takes about 14 GB, and a 70B base at 4.127 bits about 36 GB.", True),
        ("The model states for full fine-tuning with Adam take about 4.5 GB.", False),
        ("The model states for LoRA over a BF16 base take about 36 GB.", False),
        ("Training takes about 4.5 GB, while full fine-tuning with Adam needs about 36 GB of model states.", False),
    ],
)
def test_a_figure_belongs_to_the_words_beside_it(minilm: Embedder, sentence: str, supported: bool) -> None:
    assert bool(_attribute(sentence, minilm, QLORA).citations) is supported
