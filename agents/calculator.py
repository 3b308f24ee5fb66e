"""The calculator: a sub-graph that turns a problem in words into a short program of formulas and works it out.

write → work → (write → work). The model only names numbers and formulas; program.py does the arithmetic, and a number
that the problem does not give is sent back. Arithmetic written out needs no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from langgraph.runtime import Runtime  # read by LangGraph from the nodes' annotations

from agents import forms, numbers, problems
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
_EXAMPLES = 3  # the nearest worked problems, shown to the model


@dataclass(frozen=True, slots=True)
class _Shelf:
    names: list[str]
    worked: list[tuple[str, str]]
    of_names: Floats
    of_worked: Floats


_SHELVES: dict[str, _Shelf] = {}


class State(TypedDict, total=False):
    """The problem, what the model is shown before it, the programs that worked out, each with the numbers it left out, and
    what was wrong with the last one."""

    problem: str
    names: list[str]
    examples: list[tuple[str, str]]
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
    names, examples = _near(desk.retriever, desk.settings.worked_problems, problem)
    state: State = {
        "problem": problem, "names": names, "examples": examples, "tries": 0, "worked": [], "trouble": "",
    }  # fmt: skip
    done = _graph().invoke(state, context=desk)
    if not done["worked"]:
        raise ToolError(done["trouble"])
    return Finding(_told(_chosen(done["worked"])), final=True)


def prompt(
    problem: str, names: Sequence[str], examples: Sequence[tuple[str, str]] = (), trouble: str = ""
) -> list[Message]:
    """Messages that ask for a program: the formulas by name, and worked problems before the one asked for."""
    messages = [Message("system", forms.instructions("calculator"))]
    # Examples are turns of a conversation: in one message a small model works all of them out again.
    for example, text in examples:
        messages += [Message("user", f"Problem: {example}"), Message("assistant", text)]
    formulas = "\n".join(f"- {line(name)}" for name in names)
    told = f"\nMind: {trouble}." if trouble else ""
    return [*messages, Message("user", f"Formulas:\n{formulas}\n\nProblem: {problem}{told}")]


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
    tries = state["tries"] + 1
    try:
        reply = client.complete(
            prompt(state["problem"], state["names"], state["examples"], state["trouble"]),
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
        if number := numbers.groundless(expressions, f"{problem} {runtime.context.conversation}"):
            raise ToolError(f"{number} is no number of the problem")
        if bits := numbers.bits_as_bytes(expressions, problem):
            raise ToolError(f"the problem gives {bits} in bits, and b bits are b / 8 bytes")
    except ToolError as error:
        return {"trouble": str(error) if state["written"] else state["trouble"]}
    # A number counts as used where the result rests on it, or where the formula itself holds it (6 x parameters …).
    resting = program.live(lines)
    formulas = " ".join(str(FORMULAS[name].__doc__) for name in program.used(resting))
    left_out = numbers.unused(f"{' '.join(each.expression for each in resting)} {formulas}", problem)
    trouble = f"the problem also gives {', '.join(left_out)}" if left_out else ""
    return {"worked": [*state["worked"], (lines, left_out)], "trouble": trouble}


def _after_work(state: State) -> str:
    agreed = len(state["worked"]) > 1 and _votes(state["worked"], _chosen(state["worked"])) > 1
    settled = agreed and not state["trouble"]
    return "__end__" if settled or state["tries"] >= _TRIES else "write"


def _chosen(worked: Sequence[tuple[list[program.Line], list[str]]]) -> list[program.Line]:
    """Of the programs that leave out fewest of the problem's numbers, the first whose result most of them share."""
    fewest = min(len(left_out) for _, left_out in worked)
    fair = [(lines, left_out) for lines, left_out in worked if len(left_out) == fewest]
    return max((lines for lines, _ in fair), key=lambda lines: _votes(fair, lines))


def _votes(worked: Sequence[tuple[list[program.Line], list[str]]], lines: list[program.Line]) -> int:
    return sum(math.isclose(each[-1].value, lines[-1].value, rel_tol=1e-6) for each, _ in worked)


def _shelf(retriever: Retriever, path: Path | None) -> _Shelf:
    """The formulas and the worked problems with their vectors, made once for each embedder and file."""
    embedder = retriever.embedder
    key = f"{embedder.fingerprint} {path}"
    if key not in _SHELVES:
        worked = [each.filled() for each in problems.read(path)] if path else []
        names = list(FORMULAS)
        told = [line(name).replace("_", " ") for name in names] + [problem for problem, _ in worked]
        vectors = embedder.encode(told, tokens=False)[0]
        _SHELVES[key] = _Shelf(names, worked, vectors[: len(names)], vectors[len(names) :])
    return _SHELVES[key]


def _near(retriever: Retriever, path: Path | None, problem: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The formulas and the worked problems nearest to a problem, by the index's embedder; the nearest example last."""
    import numpy as np

    shelf = _shelf(retriever, path)
    vector = retriever.embedder.encode([problem], tokens=False)[0][0]
    nearest = [shelf.worked[i] for i in np.argsort(-(shelf.of_worked @ vector), kind="stable")[:_EXAMPLES]]
    called = [name for _, text in nearest for name in program.used(program.work(text))]
    by_name = [shelf.names[i] for i in np.argsort(-(shelf.of_names @ vector), kind="stable")]
    return list(dict.fromkeys([*called, *by_name]))[:_FORMULAS], nearest[::-1]


def _told(lines: list[program.Line]) -> str:
    """The working, the result last and in bold, and the formulas it rests on."""
    worked = [f"- `{each.name or 'value'} = {each.expression}` = {program.shown(each)}" for each in lines]
    last = lines[-1]
    formulas = [f"`{name}`: {FORMULAS[name].__doc__}" for name in program.used(lines)]
    rests = f"\n\nFormulas: {'; '.join(formulas)}." if formulas else ""
    return f"**{(last.name or 'result').replace('_', ' ')}: {program.shown(last)}**\n\n" + "\n".join(worked) + rests
