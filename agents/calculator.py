"""The calculator: a sub-graph that turns a problem in words into a short program of formulas and works it out.

write → work → (write → work). The model only names numbers and formulas; program.py does the arithmetic, and a number
that the problem does not give is sent back. Arithmetic written out needs no model.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, TypedDict

from langgraph.runtime import Runtime  # read by LangGraph from the nodes' annotations

from agents import decide
from agents.errors import ToolError
from agents.run import LimitReached
from agents.toolbox import Desk
from agents.tools import calculate, program
from agents.tools.finding import Finding
from agents.tools.formulas import FORMULAS, line
from core.types import Message
from rag.answering import Stage

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

    from rag.embedding import Floats
    from rag.retriever import Retriever

_TRIES = 4
_VARIED = 0.6  # temperature of a program that follows one with faults
_FORMULAS = 6  # the nearest ones, shown to the model
_MAX_TOKENS = 300
_ASKED = re.compile(r"^(?:please |pls )?(?:what(?:'s| is)|calculate|compute|work out|how much is)\s+|[\s?=.!]+$", re.I)
_kept: dict[str, Floats] = {}


class State(TypedDict, total=False):
    """The problem, the programs that worked out, each with the numbers it left out, and what was wrong with the last one."""

    problem: str
    written: str
    tries: int
    worked: list[tuple[list[program.Line], list[str]]]
    trouble: str


def solve(desk: Desk, problem: str) -> Finding:
    """The problem worked out line by line. ToolError where neither arithmetic nor the model's programs give a number."""
    try:
        return Finding(calculate.calculate(_ASKED.sub("", problem.strip())), final=True)
    except ToolError:
        if desk.client is None:
            raise
    done = _graph().invoke({"problem": problem, "tries": 0, "worked": [], "trouble": ""}, context=desk)
    if not done["worked"]:
        raise ToolError(done["trouble"])
    lines, _ = min(done["worked"], key=lambda each: len(each[1]))
    return Finding(_told(lines), final=True)


@cache
def _graph() -> CompiledStateGraph[State, Desk, State, State]:
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State, context_schema=Desk)
    graph.add_node("write", _write)
    graph.add_node("work", _work)
    graph.add_edge(START, "write")
    graph.add_edge("write", "work")
    graph.add_conditional_edges("work", _after_work, ["write", END])
    return graph.compile()


def _write(state: State, runtime: Runtime[Desk]) -> State:
    """A program by the model, shown the formulas nearest to the problem; another one than before where that had faults."""
    client = runtime.context.client
    assert client is not None  # solve
    runtime.stream_writer(Stage("calculate", 0.0))
    client.purpose = "calculate"
    formulas = "\n".join(f"- {line(name)}" for name in _near(runtime.context.retriever, state["problem"]))
    told = f"\nMind: {state['trouble']}." if state["trouble"] else ""
    asked = f"Formulas:\n{formulas}\n\nProblem: {state['problem']}{told}"
    tries = state["tries"] + 1
    try:
        reply = client.complete(
            [Message("system", decide.instructions("calculator")), Message("user", asked)],
            max_tokens=_MAX_TOKENS,
            temperature=0.0 if tries == 1 else _VARIED,
            stop=["\nProblem:"],
        )
    except LimitReached as error:
        return {"written": "", "tries": _TRIES, "trouble": str(error)}
    return {"written": reply.text, "tries": tries}


def _work(state: State, runtime: Runtime[Desk]) -> State:
    """The program's values; whether its numbers are the problem's, and which of those it left out."""
    problem = state["problem"]
    try:
        lines = program.work(state["written"])
        expressions = " ".join(each.expression for each in lines)
        if number := decide.groundless(expressions, f"{problem} {runtime.context.conversation}"):
            raise ToolError(f"{number} is no number of the problem")
    except ToolError as error:
        return {"trouble": str(error) if state["written"] else state["trouble"]}
    # A number counts as used where the result rests on it, or where the formula itself holds it (6 x parameters …).
    resting = program.live(lines)
    formulas = " ".join(str(FORMULAS[name].__doc__) for name in program.used(resting))
    left_out = decide.unused(f"{' '.join(each.expression for each in resting)} {formulas}", problem)
    trouble = f"the problem also gives {', '.join(left_out)}" if left_out else ""
    return {"worked": [*state["worked"], (lines, left_out)], "trouble": trouble}


def _after_work(state: State) -> str:
    return "write" if state["trouble"] and state["tries"] < _TRIES else "__end__"


def _near(retriever: Retriever, problem: str) -> list[str]:
    """The formulas whose lines are nearest to the problem, by the index's embedder."""
    import numpy as np

    names, embedder = list(FORMULAS), retriever.embedder
    if embedder.fingerprint not in _kept:
        readable = [line(name).replace("_", " ") for name in names]
        _kept[embedder.fingerprint] = embedder.encode(readable, tokens=False)[0]
    closeness = _kept[embedder.fingerprint] @ embedder.encode([problem], tokens=False)[0][0]
    return [names[i] for i in np.argsort(-closeness, kind="stable")[:_FORMULAS]]


def _told(lines: list[program.Line]) -> str:
    """The working, the result last and in bold, and the formulas it rests on."""
    worked = [f"- `{each.name or 'value'} = {each.expression}` = {program.shown(each)}" for each in lines]
    last = lines[-1]
    formulas = [f"`{name}`: {FORMULAS[name].__doc__}" for name in program.used(lines)]
    rests = f"\n\nFormulas: {'; '.join(formulas)}." if formulas else ""
    return f"**{(last.name or 'result').replace('_', ' ')}: {program.shown(last)}**\n\n" + "\n".join(worked) + rests
