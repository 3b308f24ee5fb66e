"""The writer's two steps on a scripted model: which sentence is asked about, what bounds the options, what is no question."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agents.bank import Question
from agents.examiner.plan import Slot, facts, passages, slots
from agents.examiner.writer import write
from core.types import Chunk
from rag.retriever import Retriever
from serving.client import ChatClient, Endpoint
from tests.wire import model_server

STEM = "A team trains two small matrices of rank r beside a frozen base model. Which method is this?"
WRONG = ("Knowledge distillation", "Structured weight pruning", "Prompt engineering", "Layer freezing", "Model merging")


@contextmanager
def _asked(stem: str = STEM, right: Any = ("Low-rank adaptation",), wrong: tuple[str, ...] = WRONG) -> Iterator[Any]:
    """A client whose model writes these, and the requests it gets."""

    def script(body: dict[str, Any]) -> str:
        if "You write the wrong options" in body["messages"][0]["content"]:
            return json.dumps({f"wrong_{n}": option for n, option in enumerate(wrong, 1)})
        return json.dumps({"question": stem, "right": right})

    with model_server(script) as (url, requests):
        yield ChatClient(Endpoint(base_url=url, model="scripted")), requests


@pytest.fixture
def chunk(retriever: Retriever) -> Chunk:
    return next(c for c in passages(retriever, "2.1") if len(facts(c)) > 1)


def _slot(number: int = 0, answers: int = 1) -> Slot:
    return Slot(number, 2, "2.1", "easy", "remember", answers, 2)


def test_each_turn_asks_about_another_sentence_which_is_the_source(chunk: Chunk) -> None:
    with _asked() as (client, requests):
        drafts = [write(client, _slot(), chunk, turn) for turn in range(2)]
    quotes = [q.source.quote for q in drafts if q]
    assert quotes == facts(chunk)[:2]
    assert all(
        chunk.text[q.source.start - chunk.start : q.source.end - chunk.start] == q.source.quote for q in drafts if q
    )
    assert [f"The fact to ask about: {quote}" in requests[2 * n]["messages"][1]["content"] for n, quote in enumerate(quotes)] == [True] * 2  # fmt: skip


@pytest.mark.parametrize("turn", range(4))
def test_in_half_of_the_slots_a_wrong_option_is_longer_than_the_key(chunk: Chunk, turn: int) -> None:
    with _asked() as (client, requests):
        draft = write(client, _slot(4 * turn), chunk)
    assert draft and draft.options[2] == "Low-rank adaptation" and draft.correct == (2,)
    assert (max(map(len, draft.options)) > len("Low-rank adaptation")) == (turn % 2 == 0)
    schema = requests[1]["response_format"]["json_schema"]["schema"]["properties"]
    least = [schema[f"wrong_{n}"]["minLength"] for n in range(1, 6)]
    assert least == (
        [20, 14, 14, 14, 14] if turn % 2 == 0 else [14] * 5
    )  # longer than the key, or three quarters of it


@pytest.mark.parametrize(
    "changed",
    [
        {"stem": "A team trains two small matrices beside a frozen model."},
        {"right": ("Low-rank adaptation of the frozen weights by two small matrices, and",)},
        {
            "right": ("Low-rank adaptation that trains two small matrices beside a frozen base",)
        },  # as long as may be: cut off
        {"right": (", reliability and speed",)},
        {"right": ("Low-rank 方法",)},
        {"right": ()},
        {"right": (["nested"],)},
        {"stem": ["a list"]},
        {"wrong": (["nested"], *WRONG[1:])},
        {"wrong": WRONG[:4]},
        {"wrong": ("Knowledge distillation",) * 5},
        {"wrong": ("low-rank adaptation", "Knowledge distillation", "Prompt tuning", "", "Weight 方法")},
    ],
)
def test_what_is_cut_off_doubled_or_of_another_script_is_no_question(chunk: Chunk, changed: dict[str, Any]) -> None:
    with _asked(**changed) as (client, _):
        assert write(client, _slot(), chunk) is None


def test_two_of_five(chunk: Chunk) -> None:
    with _asked(right=("Low-rank adaptation", "Quantised LoRA")) as (client, _):
        draft = write(client, _slot(answers=2), chunk)
    assert isinstance(draft, Question) and len(draft.options) == 5 and len(draft.correct) == 2
    assert {draft.options[i] for i in draft.correct} == {"Low-rank adaptation", "Quantised LoRA"}


def test_a_sentence_that_leans_on_the_one_before_is_not_asked_about() -> None:
    text = "Paging keeps the cache in fixed-size blocks. It removes most of the waste. Blocks are shared by requests alike."
    chunk = Chunk("c", "d", "v", 0, len(text), text, "Paging")
    assert [f.split()[0] for f in facts(chunk)] == ["Paging", "Blocks"]
    assert slots(8)[7].answers == 2
