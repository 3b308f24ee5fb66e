"""Questions from elsewhere on their way into a bank: what they lack is found, then they meet the gates of written ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.bank import Question, question
from agents.examiner import gates
from agents.examiner.gates import Verdict
from agents.examiner.known import Known
from agents.examiner.plan import task_of
from agents.exchange import formats
from agents.exchange.placing import source_of
from core import journal
from core.exam import TASKS

if TYPE_CHECKING:
    from rag.retriever import Retriever
    from serving.client import ChatClient

_USUAL = {"difficulty": "medium", "bloom": "understand", "explanation": "", "why_not": ()}
_NO_SOURCE = {"doc_id": "", "start": 0, "end": 0, "quote": ""}


@dataclass(frozen=True, slots=True)
class Dropped:
    """A question that did not get in, the gate it failed, and how."""

    id: str
    gate: str
    trouble: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """What an import came to; `updates` are the ids of kept questions that the bank holds already."""

    kept: tuple[Question, ...]
    dropped: tuple[Dropped, ...]
    updates: tuple[str, ...]
    not_run: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Desk:
    retriever: Retriever
    bank: Mapping[str, Question]
    others: Known
    client: ChatClient | None
    rotations: int | None


def admit(
    rows: Sequence[Mapping[str, Any]],
    retriever: Retriever,
    bank: Sequence[Question],
    out: Path,
    client: ChatClient | None = None,
    rotations: int | None = None,
    concurrency: int = 1,
) -> Admitted:
    """Writes to `out` those of the rows (as formats.read gives them) that stand all gates. Raises ServingError.

    Without a client only the gates that need no model are run, and `checks` holds no others.

    A row whose id is in the bank is an update of that question and takes from it what it does not say. A killed run
    goes on at the question it lost; `out` is only ever replaced whole.
    """
    unfinished = out.with_name(out.name + ".partial")
    run = f"{client.endpoint.model if client else 'no model'} {rotations} {retriever.index.manifest.generation}"
    jobs = {f"{row['id']} {_digest(row)} {run}": row for row in rows}
    before = [q for key, done in journal.read(unfinished).items() if key in jobs and (q := _kept(done))]
    others = Known(retriever)
    others.add([*bank, *before])
    desk = _Desk(retriever, {q.id: q for q in bank}, others, client, rotations)

    def work(row: Mapping[str, Any]) -> dict[str, Any]:
        found, verdicts = _judged(row, desk)
        failed = next((v for v in verdicts if not v.passed), None)
        if found is None or failed is not None:
            assert failed is not None  # a row that is no question says so in a verdict
            return {"question": None, "id": row["id"], "gate": failed.gate, "trouble": failed.trouble}
        checks = {v.gate: v.figure for v in verdicts} | ({"model": client.endpoint.model} if client else {})
        kept = replace(found, checks=checks)
        if not others.join(kept, but=kept.id):
            return {"question": None, "id": kept.id, "gate": "near-duplicate", "trouble": "the file asks it twice"}
        return {"question": asdict(kept)}

    done = journal.each(
        work, jobs, unfinished, label="judging questions", unit="question", concurrency=concurrency
    ).values()
    kept = tuple(q for row in done if (q := _kept(row)))
    formats.write(kept, out)
    unfinished.unlink()
    return Admitted(
        kept,
        tuple(Dropped(row["id"], row["gate"], row["trouble"]) for row in done if not row["question"]),
        tuple(q.id for q in kept if q.id in desk.bank),
        () if client else gates.WITH_MODEL,
    )


def _judged(row: Mapping[str, Any], desk: _Desk) -> tuple[Question | None, list[Verdict]]:
    """The row as a whole question, and the verdicts to the first that fails."""
    held = desk.bank.get(str(row["id"]))
    said = {name: value for name, value in row.items() if value is not None}
    whole = _USUAL | (asdict(held) if held else {}) | said | {"checks": {}}
    try:
        found = question({"domain": 0, "task": "", "source": _NO_SOURCE} | whole)
    except (KeyError, TypeError, ValueError) as error:
        return None, [_failed("form", f"{type(error).__name__}: {error}")]
    if not all(text.strip() for text in (found.question, *found.options)):
        return None, [_failed("form", "the question or an option is blank")]
    if not found.source.doc_id:
        source = source_of(found, desk.retriever)
        if source is None:
            return None, [_failed("source span", "no sentence of the notes says what the key says")]
        found = replace(found, source=source)
    if found.source.doc_id not in desk.retriever.documents():
        return None, [_failed("source span", f"there is no note {found.source.doc_id!r} in the index")]
    found = _placed(found, desk)
    if not found.task:
        return None, [_failed("form", "neither the file nor the notes tell its exam task. Give it one, like 2.1")]
    if found.task not in TASKS or found.domain != int(found.task.split(".")[0]):
        return None, [_failed("form", f"task {found.task!r} of domain {found.domain} is none of the exam")]
    return found, list(_verdicts(found, desk))


def _verdicts(q: Question, desk: _Desk) -> Iterator[Verdict]:
    document = desk.retriever.documents()[q.source.doc_id]
    # An update of a question is not its duplicate.
    for verdict in gates.judge(q, document, desk.client, partial(desk.others.nearest, but=q.id), desk.rotations):
        if verdict.gate == "source span" and not verdict.passed:
            verdict = replace(verdict, trouble="the note does not say the quote there")
        yield verdict


def _placed(q: Question, desk: _Desk) -> Question:
    """The question with a task and the domain of it, where it has none."""
    task = q.task or task_of(q.source.doc_id, q.domain or None, desk.retriever, desk.bank.values()) or ""
    return replace(q, task=task, domain=q.domain or (int(task.split(".")[0]) if task in TASKS else 0))


def _failed(gate: str, trouble: str) -> Verdict:
    return Verdict(gate, False, False, trouble)


def _digest(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _kept(row: Mapping[str, Any]) -> Question | None:
    return question(row["question"]) if row["question"] else None
