"""The researcher: a sub-graph that searches the notes, asks again in other words where nothing close was found, and takes notes.

search → (rewrite → search) → notes. The supervisor hands work to it through the tool `search_notes`, and once more with
what was `tried` when the answer over its passages had to be refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, TypedDict

from langgraph.runtime import Runtime  # read by LangGraph from the nodes' annotations

from agents import forms
from agents.errors import ToolError
from agents.run import LimitReached
from agents.toolbox import Desk
from agents.tools.finding import Finding
from core.types import Hit, Message
from rag.answering import Stage
from rag.fusion import in_turns
from rag.retriever import Search

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

_SCHEMA = forms.object_schema({"query": {"type": "string", "maxLength": 200}})


class State(TypedDict, total=False):
    """The question, every query tried for it, and what those of this call found."""

    question: str
    queries: list[str]
    searches: list[Search]
    finding: Finding


def research(desk: Desk, question: str, tried: Sequence[str] = ()) -> Finding:
    """The best passages for a question; with `tried` queries, those of another one. ToolError for an empty question."""
    question = question.strip()
    if not question:
        raise ToolError("the query is empty")
    state: State = {"question": question, "queries": list(tried), "searches": []}
    finding: Finding = _graph().invoke(state, context=desk)["finding"]
    return finding


def may_rewrite(desk: Desk) -> bool:
    """Whether the bounds of the run leave room for another query and for the answer over what it finds."""
    if desk.client is None:
        return False
    rewritten = sum(span.name == "rewrite" for span in desk.client.trace.spans if span.kind == "model")
    return rewritten < desk.settings.limits.searches_again and desk.client.calls_left >= 2


@cache
def _graph() -> CompiledStateGraph[State, Desk, State, State]:
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State, context_schema=Desk)
    for node in (_search, _rewrite, _notes):
        graph.add_node(node.__name__[1:], node)
    graph.add_conditional_edges(START, _first, ["search", "rewrite"])
    graph.add_conditional_edges("search", _after_search, ["rewrite", "notes"])
    graph.add_conditional_edges("rewrite", _after_rewrite, ["search", "notes"])
    graph.add_edge("notes", END)
    return graph.compile()


def _first(state: State) -> str:
    return "rewrite" if state["queries"] else "search"


def _search(state: State, runtime: Runtime[Desk]) -> State:
    """The newest query's passages; the question itself is the first query."""
    desk = runtime.context
    queries = state["queries"] or [state["question"]]
    found = desk.retriever.search(queries[-1], k=desk.settings.answers.sources)
    return {"queries": queries, "searches": [*state["searches"], found]}


def _after_search(state: State, runtime: Runtime[Desk]) -> str:
    close = max((closeness(hit) for search in state["searches"] for hit in search.hits), default=0.0)
    return "rewrite" if close < runtime.context.settings.close and may_rewrite(runtime.context) else "notes"


def _rewrite(state: State, runtime: Runtime[Desk]) -> State:
    """Another query for the question, in the words of the model."""
    client = runtime.context.client
    assert client is not None  # may_rewrite
    runtime.stream_writer(Stage("search_again", 0.0))
    client.purpose = "rewrite"
    try:
        reply = client.complete(
            [
                Message("system", forms.instructions("researcher")),
                Message("user", f"Question: {state['question']}\nTried: {'; '.join(state['queries'])}"),
            ],
            max_tokens=80,
            schema=_SCHEMA,
        )
        query = str(forms.json_object(reply.text).get("query", "")).strip()
    except LimitReached:
        query = ""
    known = {q.casefold() for q in state["queries"]}
    return {"queries": [*state["queries"], "" if query.casefold() in known else query]}


def _after_rewrite(state: State) -> str:
    return "search" if state["queries"][-1] else "notes"


def _notes(state: State, runtime: Runtime[Desk]) -> State:
    """The passages worth reading, of each query's best in turn: scores of different queries do not compare."""
    hits = in_turns([search.hits for search in state["searches"]], runtime.context.settings.answers.sources)
    titles = "; ".join(dict.fromkeys(hit.chunk.title for hit in hits))
    found = f"passages of: {titles}" if hits else "nothing found"
    return {"finding": Finding(found, hits=tuple(hits), searches=tuple(state["searches"]))}


def closeness(hit: Hit) -> float:
    """How near a passage is to its query, by the reranker where there is one."""
    return hit.scores.get("reranker", hit.score)
