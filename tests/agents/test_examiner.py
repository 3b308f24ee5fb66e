"""Cues, one at a time, and a solver that has only its favourite letter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.bank import Bank, Question, Source, passage, valid
from agents.examiner.cues import cues, key_is_longest
from agents.examiner.gates import NEAR, WITH_MODEL, WITHOUT_MODEL
from agents.examiner.solver import chance, probabilities, right
from core.paths import CORPUS, ROOT
from rag.documents import document, load_sources
from serving.client import ChatClient, Endpoint
from tests.wire import model_server

CLEAN = Question(
    "q", 2, "2.1", "easy", "apply", "Which port takes gRPC requests at a Triton server?",
    ("8000, by default", "8001, by default", "8002, by default", "8443, by default"), (1,), "", (), Source("", 0, 0, ""), {},
)  # fmt: skip


def test_a_clean_question_has_no_cue() -> None:
    assert cues(CLEAN) == []


@pytest.mark.parametrize(
    ("changed", "cue"),
    [
        ({"options": ("8000", "8001, which the server opens for gRPC unless told otherwise", "8002", "8443")}, "length"),
        ({"options": ("port 8000", "usually 8001", "port 8002", "port 8443")}, "hedging in the key alone"),
        ({"options": ("always 8000", "port 8001", "only 8002", "never 8443")}, "absolutes in every distractor"),
        ({"options": ("8000", "8001", "8002", "all of the above")}, "catch-all option"),
        ({"options": ("port 8000", "port 8001", "Port  8001", "port 8443")}, "options alike"),
        ({"question": "The part of Triton that joins requests is an", "options": ("batcher", "assembler", "router", "cache")}, "grammar"),
        ({"options": ("HTTP clients", "takes gRPC requests", "metrics scrape", "health probe")}, "stem's words in the key alone"),
        ({"question": "According to the passage, which port takes gRPC?"}, "stem leans on a text"),
        ({"options": (*CLEAN.options, "9000, by default"), "correct": (1, 2)}, "does not say two"),
    ],
)  # fmt: skip
def test_each_cue_is_seen(changed: dict[str, Any], cue: str) -> None:
    assert cue in cues(replace(CLEAN, **changed))


@given(st.lists(st.text(min_size=1, max_size=30), min_size=4, max_size=4), st.integers(0, 3))
def test_over_all_keys_the_longest_option_counts_once(options: list[str], key: int) -> None:
    rates = [key_is_longest(replace(CLEAN, options=tuple(options), correct=(i,))) for i in range(4)]
    assert sum(rates) == pytest.approx(1.0) and rates[key] in (0.0, *(1 / n for n in (1, 2, 3, 4)))


def test_a_favourite_letter_is_worth_nothing() -> None:
    with model_server(lambda body: "A") as (url, requests):
        client = ChatClient(Endpoint(base_url=url, model="scripted"))
        chances = probabilities(client, CLEAN, "options only")
        assert chances == pytest.approx([0.25] * 4) and len(requests) == 4
        assert not any(CLEAN.question in m["content"] for r in requests for m in r["messages"])
        assert len(probabilities(client, CLEAN, "closed book", rotations=1)) == 4 and len(requests) == 5
        # More than there are options are all there are.
        assert probabilities(client, CLEAN, "options only", rotations=7) == chances and len(requests) == 9


def test_a_solver_that_reads_the_notes_is_right() -> None:
    def script(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        wanted = "8001" if "Notes: " in asked else "8002"
        return next(line[0] for line in asked.splitlines() if wanted in line and line[1:2] == ")")

    with model_server(script) as (url, _):
        client = ChatClient(Endpoint(base_url=url, model="scripted"))
        assert right(CLEAN, probabilities(client, CLEAN, "open book", "gRPC is on 8001."))
        assert not right(CLEAN, probabilities(client, CLEAN, "closed book"))


def test_two_of_five_must_both_be_found() -> None:
    two = replace(CLEAN, options=(*CLEAN.options, "x"), correct=(1, 2))
    assert right(two, [0, 0.5, 0.4, 0.1, 0]) and not right(two, [0, 0.5, 0.1, 0.4, 0]) and chance(two) == 0.1


def test_a_passage_is_the_span_s_whole_paragraphs() -> None:
    doc = document("d", "D", "# D\n\nFirst one. Second one.\n\nThird one.\n\nFourth.")
    start = doc.text.index("Second")
    source = Source("d", start, start + len("Second one."), "Second one.")
    assert valid(source, doc) and passage(source, doc) == "First one. Second one."
    assert not valid(replace(source, quote="Second two."), doc) and not valid(Source("d", 0, 0, ""), doc)


def test_the_shipped_bank_stands_on_the_notes() -> None:
    notes = {d.doc_id: d for d in load_sources([CORPUS])}
    bank = Bank.open(ROOT / "data" / "questions")
    assert all(valid(q.source, notes[q.source.doc_id]) for q in bank.questions.values())
    assert {cue for q in bank.questions.values() for cue in cues(q)} <= set()


def test_the_shipped_bank_has_stood_all_gates_and_explains_itself() -> None:
    bank = Bank.open(ROOT / "data" / "questions")
    assert len(bank) >= 200
    for q in bank.questions.values():
        assert tuple(q.checks) == (*WITHOUT_MODEL, *WITH_MODEL, "model"), q.id
        assert q.checks["source span"] and q.checks["cues"] == [] and q.checks["near-duplicate"] <= NEAR, q.id
        assert q.checks["closed book"] < q.checks["open book"] and max(q.checks["second key"]) < 0.5, q.id
        assert q.explanation and len(q.why_not) == len(q.checks["second key"]) == len(q.options) - len(q.correct), q.id
