"""The agent's task set and the attack suite, run against a live model: the agent, and plain retrieval beside it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.config import AgentSettings
from agents.tutor import Tutor
from core import files, journal
from core.errors import GenlError, ServingError
from core.types import Answer, Message
from eval.checks import Outcome, failed
from rag.answering import Answerer
from rag.retriever import Retriever

if TYPE_CHECKING:
    from serving.client import ChatClient

Row = dict[str, Any]


def cases(path: Path, limit: int | None = None) -> list[Row]:
    """The cases of a file; with a limit as many of each kind."""
    rows = [row for _, row in files.read_jsonl(path)]
    if limit is None:
        return rows
    taken: dict[str, int] = {}
    found = []
    for row in rows:
        taken[row["kind"]] = taken.get(row["kind"], 0) + 1
        if taken[row["kind"]] <= limit:
            found.append(row)
    return found


def by_agent(retriever: Retriever, client: ChatClient, settings: AgentSettings) -> Callable[[Row], Row]:
    """Runs one case with the agent, in a folder of its own; planted documents are indexed beside the notes' best."""

    def run(case: Row) -> Row:
        with tempfile.TemporaryDirectory(prefix="genl-eval-") as folder:
            mine = settings.model_copy(
                update={"threads": Path(folder) / "t.sqlite", "learners": Path(folder) / "l.sqlite"}
            )
            mine = mine.model_copy(update=_foreign_tool(case, Path(folder)))
            notes = _planted(case, retriever)
            tutor = Tutor(notes, client, mine)
            restarts = {c["turn"] for c in case["checks"] if c["type"] == "restart_before"}
            outcomes, traces = [], []
            for number, turn in enumerate(case["turns"]):
                if number in restarts:
                    tutor.close()
                    tutor = Tutor(notes, client, mine)
                done = tutor.ask(turn, thread="case")
                traces.append(done.trace)
                routes = [str(s.detail["route"]) for s in done.trace.spans if s.name == "guard"]
                outcomes.append(Outcome(done.answer, done.trace.tools(), routes[0] if routes else "answer"))
            tutor.close()
        limits = mine.limits
        return {
            "past_bound": any(
                t.count("model") > limits.model_calls
                or t.count("tool") > limits.tool_calls
                or t.elapsed_ms() > 1000 * limits.seconds + 5000
                for t in traces
            ),
            "model_calls": sum(t.count("model") for t in traces),
            "tools": [name for t in traces for name in t.tools()],
            **_row(case, outcomes),
        }

    return run


def by_retrieval(retriever: Retriever, client: ChatClient) -> Callable[[Row], Row]:
    """Runs one case with plain `rag ask`: the same conversation, no tools, no thread of its own."""
    answerer = Answerer(retriever, client)

    def run(case: Row) -> Row:
        messages: list[Message] = []
        outcomes = []
        for turn in case["turns"]:
            messages.append(Message("user", turn))
            answer = answerer.answer(messages)
            messages.append(Message("assistant", answer.text))
            outcomes.append(Outcome(answer))
        return _row(case, outcomes)

    return run


def measure(run: Callable[[Row], Row], rows: Sequence[Row], out: Path, concurrency: int = 1) -> list[Row]:
    """All cases, each kept at once in `out`: a killed run goes on where it was. `seconds` of cases in flight together add up."""
    found = journal.each(
        lambda case: _timed(run, case),
        {str(case["id"]): case for case in rows},
        out,
        label=out.stem,
        unit="case",
        concurrency=concurrency,
    )
    return list(found.values())


def _timed(run: Callable[[Row], Row], case: Row) -> Row:
    started = time.perf_counter()
    try:
        row = run(case)
    except ServingError:
        raise  # no outcome of the case: it is run again when the model is back
    except GenlError as error:
        row = {"id": case["id"], "kind": case["kind"], "failed": [f"error: {error}"], "failed_outcome": ["error"]}
    return row | {"seconds": round(time.perf_counter() - started, 1)}


def table(measured: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """A Markdown table: success by kind for each contender, with tokens and seconds a case."""
    kinds = list(dict.fromkeys(row["kind"] for rows in measured.values() for row in rows))
    yield "| | " + " | ".join([*kinds, "all", "tokens", "seconds"]) + " |"
    yield "|---" * (len(kinds) + 4) + "|"
    for name, rows in measured.items():
        cells = []
        for kind in [*kinds, None]:
            mine = [row for row in rows if kind in (None, row["kind"])]
            cells.append(f"{sum(not r['failed_outcome'] for r in mine)}/{len(mine)}")
        tokens = sorted(r.get("tokens", 0) for r in rows)
        seconds = sorted(r["seconds"] for r in rows)
        yield (
            f"| {name} | " + " | ".join([*cells, str(tokens[len(rows) // 2]), f"{seconds[len(rows) // 2]:.0f}"]) + " |"
        )


def _row(case: Row, outcomes: Sequence[Outcome]) -> Row:
    answer: Answer = outcomes[-1].answer
    usage = [o.answer.usage for o in outcomes]
    return {
        "id": case["id"],
        "kind": case["kind"],
        "failed": failed(case["checks"], outcomes),
        "failed_outcome": failed(case["checks"], outcomes, process=False),
        "answers": [o.answer.text for o in outcomes],
        "refused": answer.refused,
        "reason": answer.reason,
        "routes": [o.route for o in outcomes],
        "tokens": sum(u.prompt_tokens + u.completion_tokens for u in usage),
    }


def _planted(case: Row, retriever: Retriever) -> Retriever:
    """An index with the planted documents beside the notes that the question finds, so that both can be retrieved."""
    planted = case.get("documents", [])
    if not planted:
        return retriever
    from rag.documents import document

    near = [hit.chunk.doc_id for hit in retriever.search(case["turns"][-1], k=6, by="document").hits]
    found = [retriever.document(doc_id) for doc_id in near]
    added = [document(f"planted/{n}.md", doc["title"], doc["text"]) for n, doc in enumerate(planted)]
    return Retriever.over([*found, *added], retriever.index.settings, retriever.embedder)


def _foreign_tool(case: Row, folder: Path) -> dict[str, Any]:
    """A compromised tool from outside, under the name the case gives, which then replaces the tutor's own."""
    result = case.get("tool_result")
    if not result:
        return {}
    tools = folder / "tools"
    tools.mkdir()
    (tools / "foreign.py").write_text(
        "from langchain_core.tools import tool\n\n"
        f"@tool({result['tool']!r})\ndef foreign(request: str) -> str:\n"
        f"    'computes or looks up what the learner asks'\n    return {result['text']!r}\n",
        encoding="utf-8",
    )
    return {"tool_folders": (tools,)}
