"""Questions written, judged, rewritten, dropped and kept, over real notes and real retrieval; only the model's words are scripted."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.bank import Bank, valid
from agents.config import AgentSettings, Limits
from agents.examiner.graph import GATES, generate, yields
from agents.examiner.plan import apportion, passages, slots, statements
from agents.tutor import Tutor
from core.errors import ServingError
from core.exam import DOMAINS
from rag.answering import Stage
from rag.retriever import Retriever
from serving.client import ChatClient, Endpoint
from tests.wire import model_server

GOOD = {
    "question": "A team freezes a base model and trains two small matrices of rank r. Which method is this?",
    "right": ["Low-rank adaptation"], "wrong": ["Knowledge distillation", "Weight pruning", "Prompt engineering", "Layer freezing", "Model merging"],
}  # fmt: skip
LEAKS = GOOD | {"question": "According to the passage, which method trains two small matrices of rank r?"}
WHY = "LoRA trains two small matrices beside a frozen base."


def _script(*drafts: dict[str, Any], guess: str = "A") -> Callable[[dict[str, Any]], str]:
    waiting = list(drafts)
    begun: dict[str, dict[str, Any]] = {}

    def script(body: dict[str, Any]) -> str:
        system, asked = body["messages"][0]["content"], body["messages"][-1]["content"]
        if "You write multiple-choice" in system:
            draft = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            begun[draft["question"]] = draft
            return json.dumps({name: draft[name] for name in ("question", "right") if name in draft})
        if "You write the wrong options" in system:
            stem = asked.split("Question: ")[1].split("\n")[0]
            return json.dumps({f"wrong_{n}": option for n, option in enumerate(begun[stem]["wrong"], 1)})
        if "You explain a multiple-choice" in system:
            return WHY
        if "Notes: " in asked or (guess == "key" and "Question" not in asked):
            return next(line[0] for line in asked.splitlines() if "Low-rank" in line and line[1:2] == ")")
        return "A"

    return script


def _run(
    retriever: Retriever, out: Path, script: Callable[[dict[str, Any]], str], n: int = 1, concurrency: int = 1
) -> list[dict[str, Any]]:
    with model_server(script) as (url, requests):
        client = ChatClient(Endpoint(base_url=url, model="scripted", max_retries=0))
        rows = generate(retriever, client, slots(n, task="2.1"), [], out, concurrency=concurrency)
        for row in rows:
            row["requests"] = len(requests)
        return rows


def test_a_good_draft_is_kept_with_the_figures_of_its_gates(retriever: Retriever, tmp_path: Path) -> None:
    rows = _run(retriever, tmp_path / "b" / "bank.jsonl", _script(GOOD))
    assert rows[0]["question"], rows
    (kept,) = Bank.open(tmp_path / "b").questions.values()
    assert (
        valid(kept.source, retriever.document(kept.source.doc_id))
        and kept.options[kept.correct[0]] == "Low-rank adaptation"
    )
    assert kept.checks["open book"] > kept.checks["closed book"] and kept.checks["options only"] == 0.25
    assert len(kept.checks["second key"]) == 3 and kept.explanation and len(kept.why_not) == 3
    found = yields(rows)
    assert [(y.gate, y.came, y.passed) for y in found] == [(gate, 1, 1) for gate in GATES]
    assert 0 < sum(y.seconds for y in found) <= rows[0]["seconds"] + 0.1
    assert not list((tmp_path / "b").glob("*.partial"))


def test_a_leaking_draft_is_rewritten_and_then_kept(retriever: Retriever, tmp_path: Path) -> None:
    rows = _run(retriever, tmp_path / "bank.jsonl", _script(LEAKS, GOOD))
    assert rows[0]["question"] and [t["gates"].get("cues") for t in rows[0]["tried"]] == [False, True]


@pytest.mark.parametrize(
    ("draft", "guess", "gate"),
    [(LEAKS, "A", "cues"), (GOOD, "key", "options only"), ({"question": "half"}, "A", "written"),
     (GOOD | {"wrong": ["Low-rank adapters", "Weight pruning", "Prompt tuning", "Weight pruning", "Prompt tuning"]}, "A", "second key")],
)  # fmt: skip
def test_what_fails_a_gate_twice_everywhere_is_dropped(
    retriever: Retriever, tmp_path: Path, draft: dict[str, Any], guess: str, gate: str
) -> None:
    rows = _run(retriever, tmp_path / "bank.jsonl", _script(draft, guess=guess))
    assert rows[0]["question"] is None and all(list(t["gates"].items())[-1] == (gate, False) for t in rows[0]["tried"])
    assert (tmp_path / "bank.jsonl").read_text() == ""


def test_the_same_question_is_kept_once(retriever: Retriever, tmp_path: Path) -> None:
    rows = _run(retriever, tmp_path / "bank.jsonl", _script(GOOD), n=2)
    assert [row["question"] is not None for row in rows] == [True, False]
    assert rows[1]["tried"][0]["gates"]["near-duplicate"] is False


def test_two_alike_that_are_written_at_once_are_kept_once(retriever: Retriever, tmp_path: Path) -> None:
    judged, good = threading.Barrier(2, timeout=30), _script(GOOD)

    def script(body: dict[str, Any]) -> str:
        if "You explain a multiple-choice" in body["messages"][0]["content"]:
            judged.wait()  # neither has joined the bank yet
        return good(body)

    rows = _run(retriever, tmp_path / "bank.jsonl", script, n=2, concurrency=2)
    assert sorted(row["question"] is not None for row in rows) == [False, True]
    assert len((tmp_path / "bank.jsonl").read_text().splitlines()) == 1
    found = {y.gate: y for y in yields(rows)}
    assert found["explained"].came == 2 and found["near-duplicate"].passed == 1


def test_an_outage_loses_nothing_and_writes_no_half_bank(retriever: Retriever, tmp_path: Path) -> None:
    out = tmp_path / "bank.jsonl"
    calls: Counter[str] = Counter()
    good = _script(GOOD)

    def away(body: dict[str, Any]) -> str:
        calls["all"] += 1
        if calls["all"] > 24:  # those of the first question
            raise OSError
        return good(body)

    with pytest.raises(ServingError):
        _run(retriever, out, away, n=2)
    assert not out.exists() and len((tmp_path / "bank.jsonl.partial").read_text().splitlines()) == 1
    rows = _run(retriever, out, good, n=2)
    assert [row["question"] is not None for row in rows] == [True, False] and len(out.read_text().splitlines()) == 1


def test_where_the_bank_has_nothing_on_a_subject_one_is_written_and_graded(
    tutor: Callable[..., Tutor], settings: AgentSettings, understanding: dict[str, Any]
) -> None:
    bank = settings.bank / "toy.jsonl"
    bank.write_text(bank.read_text().splitlines()[1])  # the one on Triton
    made = tutor(_script(GOOD), **understanding)
    events = list(made.stream("quiz me on LoRA", thread="t", learner="ada"))
    asked = events[-1].answer.text  # type: ignore[union-attr]
    assert asked.startswith(GOOD["question"])
    assert [e.name for e in events if isinstance(e, Stage)] == ["make_quiz", "write_question", "judge_question"]
    made.close()
    again = Tutor(made.retriever, made.client, settings.model_copy(update=understanding))
    key = next(line[0] for line in asked.splitlines() if "Low-rank" in line)
    graded = again.ask(key, thread="t", learner="ada").answer.text
    assert f"Right: the answer is {key}" in graded and "(lora.md)" in graded
    assert [m.topic for m in again.learners.learner("ada").marks()] == ["lora.md"]
    again.close()


def test_where_none_can_be_written_the_bank_s_question_is_asked_again(
    tutor: Callable[..., Tutor], settings: AgentSettings, understanding: dict[str, Any]
) -> None:
    made = tutor(_script({"question": "half"}), **understanding, limits=Limits(model_calls=1))
    made.learners.learner("me").mark("q0", "2.1", "lora.md", True)
    done = made.ask("quiz me on LoRA")
    assert done.answer.text.startswith("How many parameters does LoRA of rank 8") and done.trace.count("model") == 1
    rows = (settings.bank / "toy.jsonl").read_text().splitlines()
    (settings.bank / "toy.jsonl").write_text(rows[1])
    other = tutor(_script(LEAKS), **understanding).ask("quiz me on LoRA")
    assert other.answer.text.startswith("I have no question on “LoRA”") and "gRPC" in other.answer.text


def test_shares_follow_the_blueprint() -> None:
    assert apportion(50, [30, 24, 22, 14, 10]) == [15, 12, 11, 7, 5] and sum(apportion(7, [1, 1, 1])) == 7
    plan = slots(60)
    shares = Counter(s.domain for s in plan)
    assert sum(abs(shares[d.number] / 60 - d.weight / 100) for d in DOMAINS) <= 0.05
    assert max(Counter(s.place for s in plan).values()) == 15 and sum(s.answers == 2 for s in plan) == 7
    assert {s.task for s in slots(5, task="2.1")} == {"2.1"} and {s.domain for s in slots(9, domain=3)} == {3}


def test_passages_are_prose_and_their_statements_word_for_word(retriever: Retriever) -> None:
    found = list(passages(retriever, "2.1"))
    assert found and len({c.chunk_id for c in found}) == len(found)
    assert all(s in c.text for c in found for s in statements(c))
