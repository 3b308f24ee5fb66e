"""Explanations on a scripted model: asked for in turns, whole sentences only, and none that merely repeats an option."""

from __future__ import annotations

from typing import Any

import pytest

from agents.bank import Question, Source
from agents.examiner.explainer import explain
from serving.client import ChatClient, Endpoint
from tests.wire import model_server

QUESTION = Question(
    "q", 2, "2.1", "easy", "apply", "Which method trains two small matrices beside a frozen base?",
    ("It prunes the weights of the layers", "Low-rank adaptation", "Knowledge distillation", "Prompt tuning"), (1,), "", (),
    Source("d", 0, 40, "LoRA trains two small matrices of rank r."), {},
)  # fmt: skip
RIGHT = "LoRA adds two small matrices to a frozen layer and trains those alone."
WRONG = "Distillation trains a small model on the answers of a large one."


def _explained(*said: str) -> tuple[Question | None, list[dict[str, Any]]]:
    """Each reply in turn, the last one from then on."""
    waiting = list(said)
    with model_server(lambda body: waiting.pop(0) if len(waiting) > 1 else waiting[0]) as (url, requests):
        return explain(ChatClient(Endpoint(base_url=url, model="scripted")), QUESTION), requests


def test_each_wrong_option_is_explained_in_a_turn_of_its_own() -> None:
    found, requests = _explained(RIGHT, WRONG)
    assert found and found.explanation == RIGHT and found.why_not == (WRONG,) * 3
    asked = [r["messages"][-1]["content"] for r in requests]
    assert QUESTION.source.quote in asked[0] and asked[0].endswith("Why is “Low-rank adaptation” right?")
    assert asked[1:] == [f"Why is “{o}” wrong?" for i, o in enumerate(QUESTION.options) if i != 1]
    assert all(r["messages"][-2]["content"] == RIGHT for r in requests[1:])


def test_a_sentence_that_is_cut_off_is_left_out() -> None:
    found, _ = _explained(RIGHT + " The base keeps its weights, which means that no", WRONG)
    assert found and found.explanation == RIGHT


@pytest.mark.parametrize(
    "said", ["It prunes the weights of the layers.", "Pruning takes weights out, which leaves", "Pruning 方法 takes weights out of it.", ""]
)  # fmt: skip
def test_an_echo_a_fragment_or_another_script_is_asked_for_again(said: str) -> None:
    found, requests = _explained(RIGHT, said, WRONG)
    assert found and found.why_not == (WRONG,) * 3 and len(requests) == 5
    assert [r["temperature"] for r in requests] == [0.0, 0.0, 0.7, 0.0, 0.0]
    found, requests = _explained(RIGHT, said)
    assert found is None and len(requests) == 4
