"""The verifier: a sub-graph that reads each claim beside the span it cites and strikes the citations that do not hold.

Attribution (rag/citations.py) finds the span by words, figures and embeddings, which cannot tell "A calls B" from
"B calls A". The verifier asks the model, one claim at a time: judge → (judge …) → verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, TypedDict

from langgraph.runtime import Runtime  # read by LangGraph from the nodes' annotations

from agents import forms
from agents.run import LimitReached
from agents.toolbox import Desk
from core.types import Answer, Chunk, Message
from rag.answering import Stage

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

    from serving.client import ChatClient

YES, NO = "Yes", "No"


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement, the passage that is to support it, and the heading the passage stands under."""

    text: str
    passage: str
    heading: str = ""


class State(TypedDict, total=False):
    """The claims, and for each judged so far the probability that its passage supports it."""

    claims: Sequence[Claim]
    support: list[float]


def verify(desk: Desk, claims: Sequence[Claim]) -> list[float]:
    """For each claim the probability that its passage supports it; shorter where the run's bounds end it."""
    if not claims or desk.client is None:
        return []
    state: State = {"claims": claims, "support": []}
    # A step for each claim, and one to spare.
    found: list[float] = _graph().invoke(state, {"recursion_limit": len(claims) + 2}, context=desk)["support"]
    return found


def supported(client: ChatClient, claim: Claim) -> float:
    """The model's probability, in [0, 1], that the passage supports the claim. Raises ServingError."""
    heading = f" under “{claim.heading}”" if claim.heading else ""
    asked = f"Passage{heading}: {claim.passage}\n\nStatement: {claim.text}\n\nDoes the passage support the statement?"
    found = client.choose([Message("system", forms.instructions("verifier")), Message("user", asked)], [YES, NO])
    return math.exp(found.logprobs[YES])


def checked(desk: Desk, answer: Answer) -> Answer:
    """The answer without the citations that its verifier finds wanting; their sentences then count as unsupported."""
    claims = [
        Claim(answer.sentences[c.sentence].text, c.quote, heading(answer.sources[c.source - 1].chunk))
        for c in answer.citations
    ]
    support = verify(desk, claims)
    struck = {
        citation.sentence
        for citation, value in zip(answer.citations, support, strict=False)
        if value < desk.settings.verify_at
    }
    if not struck:
        return answer
    return replace(
        answer,
        citations=tuple(c for c in answer.citations if c.sentence not in struck),
        sentences=tuple(replace(s, supported=s.supported and n not in struck) for n, s in enumerate(answer.sentences)),
    )


def heading(chunk: Chunk) -> str:
    """The title and headings above a chunk."""
    return " > ".join(dict.fromkeys([chunk.title, *chunk.headings]))


@cache
def _graph() -> CompiledStateGraph[State, Desk, State, State]:
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State, context_schema=Desk)
    graph.add_node("judge", _judge)
    graph.add_edge(START, "judge")
    graph.add_conditional_edges("judge", _after_judge, ["judge", END])
    return graph.compile()


def _judge(state: State, runtime: Runtime[Desk]) -> State:
    """The next claim."""
    client = runtime.context.client
    assert client is not None  # verify
    runtime.stream_writer(Stage("verify", 0.0))
    client.purpose = "verify"
    try:
        value = supported(client, state["claims"][len(state["support"])])
    except LimitReached:
        return {"claims": state["claims"][: len(state["support"])]}
    return {"support": [*state["support"], value]}


def _after_judge(state: State) -> str:
    return "judge" if len(state["support"]) < len(state["claims"]) else "__end__"
