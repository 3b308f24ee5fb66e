"""The examiner: a graph that writes a question, puts it through the gates, rewrites it once or drops it, and explains what is kept.

write → judge → (write → judge) → explain. `generate` runs it over a plan; every finished slot is kept as it comes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from langgraph.runtime import Runtime  # read by LangGraph from the nodes' annotations

from agents.bank import Question, question, row_of
from agents.errors import AgentError
from agents.examiner import explainer, gates, writer
from agents.examiner.known import Known
from agents.examiner.plan import Slot, passages
from core import files, journal
from core.types import Chunk
from rag.answering import Stage
from rag.retriever import Retriever
from serving.client import ChatClient

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

GATES = ("written", *gates.WITHOUT_MODEL, *gates.WITH_MODEL, "explained")  # in the order drafts meet them
REWRITES = 1
_PASSAGES = 6  # tried for one slot


@dataclass(frozen=True, slots=True)
class Desk:
    """What the examiner works with; `nearest` tells how near a question is to those there are."""

    retriever: Retriever
    client: ChatClient
    nearest: Callable[[Question], float]
    rotations: int | None


class State(TypedDict, total=False):
    """One attempt over one passage."""

    slot: Slot
    chunk: Chunk
    draft: Question | None
    writing: float
    verdicts: list[gates.Verdict]
    tried: list[dict[str, Any]]
    kept: Question | None


@dataclass(frozen=True, slots=True)
class Yield:
    """What became of the drafts that came to one gate, and the seconds it took over all of them."""

    gate: str
    came: int
    passed: int
    seconds: float


def attempt(desk: Desk, slot: Slot, chunk: Chunk) -> tuple[Question | None, list[dict[str, Any]]]:
    """A question that stands all gates, or None; and of each try the gates and their seconds. Raises ServingError."""
    state: State = {
        "slot": slot, "chunk": chunk, "draft": None, "writing": 0.0, "verdicts": [], "tried": [], "kept": None,
    }  # fmt: skip
    done = _graph().invoke(state, context=desk)
    return done["kept"], done["tried"]


def generate(
    retriever: Retriever,
    client: ChatClient,
    plan: Sequence[Slot],
    bank: Sequence[Question],
    out: Path,
    rotations: int | None = None,
    concurrency: int = 1,
) -> list[dict[str, Any]]:
    """Writes the plan's questions to `out` as JSON lines, new ones unlike those of `bank`; the row of every slot.

    `concurrency` slots are in the making at a time.

    A killed run goes on at the slot it lost; `out` is only ever replaced whole. Raises ServingError.
    """
    by_task = {task: list(islice(passages(retriever, task), 200)) for task in dict.fromkeys(s.task for s in plan)}
    turn: Counter[str] = Counter()
    places = {}
    for slot in plan:
        chunks = by_task[slot.task]
        if not chunks:
            raise AgentError(f"the index holds no passage to ask about for task {slot.task}. Build it from the notes")
        places[slot.number] = [chunks[(turn[slot.task] + n) % len(chunks)] for n in range(min(_PASSAGES, len(chunks)))]
        turn[slot.task] += _PASSAGES
    partial = out.with_name(out.name + ".partial")
    known = Known(retriever)
    known.add([*bank, *(q for row in journal.read(partial).values() if (q := _kept(row)))])
    desk = Desk(retriever, client, known.nearest, rotations)

    def work(slot: Slot) -> dict[str, Any]:
        started = time.perf_counter()
        tried: list[dict[str, Any]] = []
        found = None
        for chunk in places[slot.number]:
            found, gone = attempt(desk, slot, chunk)
            tried += gone
            if found is not None and not known.join(found):
                tried[-1] = tried[-1] | {"gates": tried[-1]["gates"] | {"near-duplicate": False}}
                found = None
            if found is not None:
                break
        seconds = round(time.perf_counter() - started, 1)
        return {"question": asdict(found) if found else None, "tried": tried, "seconds": seconds}

    jobs = {f"{slot.number} {slot.task} {client.endpoint.model}": slot for slot in plan}
    rows = journal.each(work, jobs, partial, label="writing questions", unit="question", concurrency=concurrency)
    kept = [q for row in rows.values() if (q := _kept(row))]
    files.write(out, "".join(f"{row_of(q)}\n" for q in kept))
    partial.unlink()
    return list(rows.values())


def yields(rows: Sequence[Mapping[str, Any]]) -> list[Yield]:
    """What each gate let through and took, in the order drafts meet them."""
    came: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for draft in (draft for row in rows for draft in row["tried"]):
        for gate, ok in draft["gates"].items():
            came[gate] += 1
            passed[gate] += ok
            seconds[gate] += draft["seconds"][gate]
    return [Yield(gate, came[gate], passed[gate], seconds[gate]) for gate in GATES if came[gate]]


@cache
def _graph() -> CompiledStateGraph[State, Desk, State, State]:
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(State, context_schema=Desk)
    for node in (_write, _judge, _explain):
        graph.add_node(node.__name__[1:], node)
    graph.add_edge(START, "write")
    graph.add_edge("write", "judge")
    graph.add_conditional_edges("judge", _after_judge, ["write", "explain", END])
    graph.add_edge("explain", END)
    return graph.compile()


def _write(state: State, runtime: Runtime[Desk]) -> State:
    runtime.stream_writer(Stage("write_question", 0.0))
    trouble = [v.trouble for v in state["verdicts"] if not v.passed]
    started = time.perf_counter()
    draft = writer.write(runtime.context.client, state["slot"], state["chunk"], len(state["tried"]), trouble)
    return {"draft": draft, "writing": time.perf_counter() - started}


def _judge(state: State, runtime: Runtime[Desk]) -> State:
    runtime.stream_writer(Stage("judge_question", 0.0))
    desk, draft = runtime.context, state["draft"]
    verdicts = [gates.Verdict("written", draft is not None, draft is not None, "it was no whole question")]
    seconds = {"written": state["writing"]}
    if draft is not None:
        document = desk.retriever.document(draft.source.doc_id)
        started = time.perf_counter()
        for verdict in gates.judge(draft, document, desk.client, desk.nearest, desk.rotations):
            verdicts.append(verdict)
            seconds[verdict.gate] = time.perf_counter() - started
            started = time.perf_counter()
    shown = {
        "question": draft.question if draft else "",
        "gates": {v.gate: v.passed for v in verdicts},
        "seconds": seconds,
    }
    return {"verdicts": verdicts, "tried": [*state["tried"], shown]}


def _after_judge(state: State) -> str:
    if all(v.passed for v in state["verdicts"]):
        return "explain"
    return "write" if len(state["tried"]) <= REWRITES else "__end__"


def _explain(state: State, runtime: Runtime[Desk]) -> State:
    draft = state["draft"]
    assert draft is not None  # _after_judge
    checks = {v.gate: v.figure for v in state["verdicts"]} | {"model": runtime.context.client.endpoint.model}
    started = time.perf_counter()
    whole = explainer.explain(runtime.context.client, draft)
    *before, last = state["tried"]
    last = {
        **last,
        "gates": {**last["gates"], "explained": whole is not None},
        "seconds": {**last["seconds"], "explained": time.perf_counter() - started},
    }
    return {"kept": replace(whole, checks=checks) if whole else None, "tried": [*before, last]}


def _kept(row: Mapping[str, Any]) -> Question | None:
    return question(row["question"]) if row["question"] else None
