"""The researcher and the verifier: sub-graphs that the supervisor hands work to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agents import researcher, toolbox
from agents.config import AgentSettings, Limits
from agents.errors import ToolError
from agents.tutor import Tutor
from rag.answering import Stage
from rag.retriever import Retriever

Make = Callable[..., Tutor]
TWO = "LoRA freezes the base model and trains two small matrices. [1] The base model is trained and LoRA is frozen. [1]"


def _script(answer: str, verdict: Callable[[str], str] = lambda claim: "Yes") -> Callable[[dict[str, Any]], str]:
    def script(body: dict[str, Any]) -> str:
        system, asked = body["messages"][0]["content"], body["messages"][-1]["content"]
        if "Write one other search query" in system:
            return json.dumps({"query": "LoRA adapter matrices"})
        if "You check a statement" in system:
            return verdict(asked.split("Statement: ")[1])
        return answer

    return script


def test_what_is_not_close_is_searched_in_other_words_before_the_model_reads(tutor: Make) -> None:
    made = tutor(_script(TWO), always_decide=False, close=10.0)
    events = list(made.stream("What is the thing with two little factors?"))
    asked = [r["messages"][0]["content"][:22] for r in made.requests]  # type: ignore[attr-defined]
    assert [a.startswith("A search in study") for a in asked] == [True, False]
    assert [e.name for e in events if isinstance(e, Stage)][:2] == ["search_notes", "search_again"]
    close = tutor(_script(TWO), always_decide=False, close=0.0)
    assert close.ask("What is the thing with two little factors?").trace.count("model") == 1


def test_a_query_tried_before_is_not_searched_again(tutor: Make) -> None:
    made = tutor(_script("NOT IN SOURCES"), always_decide=False, close=0.0, limits=Limits(searches_again=3))
    done = made.ask("LoRA adapter matrices?")
    queries = [s for s in done.trace.spans if s.name == "rewrite"]
    assert done.answer.refused and len(queries) <= 3 and done.trace.count("model") <= 8


def test_the_researcher_alone(retriever: Retriever) -> None:
    desk = toolbox.Desk(retriever, None, None, AgentSettings())  # type: ignore[arg-type]
    found = researcher.research(desk, "On which port does Triton serve gRPC?")
    assert found.hits[0].chunk.doc_id == "triton.md" and [s.query for s in found.searches] == [
        "On which port does Triton serve gRPC?"
    ]
    with pytest.raises(ToolError, match="empty"):
        researcher.research(desk, "  ")


def test_a_claim_its_span_does_not_hold_loses_its_citation(tutor: Make) -> None:
    def verdict(claim: str) -> str:
        return "No" if claim.startswith("The base model is trained") else "Yes"

    question = "How does LoRA train a model?"
    plain = tutor(_script(TWO, verdict), always_decide=False).ask(question).answer
    done = tutor(_script(TWO, verdict), always_decide=False, verify=True).ask(question)
    assert len(plain.citations) == 2 and [c.sentence for c in done.answer.citations] == [0]
    assert [s.supported for s in done.answer.sentences] == [True, False]
    judged = [s for s in done.trace.spans if s.kind == "model" and s.name == "verify"]
    assert [s.detail["reply"] for s in judged] == ["Yes 0.90, No 0.10", "Yes 0.10, No 0.90"]


def test_an_answer_that_loses_every_citation_is_a_refusal(tutor: Make) -> None:
    made = tutor(_script(TWO, lambda claim: "No"), always_decide=False, verify=True)
    answer = made.ask("How does LoRA train a model?").answer
    assert answer.refused and answer.reason == "not_in_sources" and "two small matrices" not in answer.text


def test_the_verifier_stops_at_the_bound(tutor: Make) -> None:
    made = tutor(_script(TWO), always_decide=False, verify=True, limits=Limits(model_calls=2))
    done = made.ask("How does LoRA train a model?")
    assert done.trace.count("model") == 2 and len(done.answer.citations) == 2
