"""An adapter against its base, through the server that serves both: refusals, citations, exam accuracy.

Every model gets the same prompts; figures come with 95 % bootstrap intervals over the questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from core import files, journal
from core.errors import DatasetError
from core.exam import LETTERS
from core.types import Chunk, Hit, Message
from finetune import metrics
from finetune.tutoring import EXAM, exam_prompt, source_blocks
from rag import prompts

if TYPE_CHECKING:
    from rag.retriever import Retriever
    from serving.client import ChatClient

ANSWER_TOKENS = 120
Row = dict[str, Any]
Interval = tuple[float, float, float]  # a value, and the bounds of its 95 % bootstrap interval
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt with what is right: a refusal or not, the supporting sources, or the letter."""

    id: str
    suite: str
    messages: tuple[Message, ...]
    refuse: bool = False
    gold: tuple[int, ...] = ()
    letter: str = ""


def own_cases(path: Path) -> list[Case]:
    """The project's own test split: grounded and refusal rows, exam rows."""
    found = []
    for _, row in files.read_jsonl(path, DatasetError):
        messages = tuple(Message(m["role"], m["content"]) for m in row["messages"][:-1])
        if row["kind"] in ("grounded", "refusal"):
            refuse = row["kind"] == "refusal"
            found.append(Case(row["id"], "tutor", messages, refuse, tuple(row.get("gold", ()))))
        elif row["kind"] == "exam":
            found.append(Case(row["id"], "exam", messages, letter=row["answer"]))
    return found


def mtrag_cases(path: Path, context_chars: int = 1000) -> list[Case]:
    """MTRAG-UN tasks: the last question of a conversation over given contexts; UNANSWERABLE ones are to be refused."""
    found = []
    for _, row in files.read_jsonl(path, DatasetError):
        label = row["answerability"][0]
        if label not in ("ANSWERABLE", "UNANSWERABLE"):
            continue
        turns = [Message("user" if t["speaker"] == "user" else "assistant", t["text"]) for t in row["input"]]
        hits = [
            Hit(
                Chunk(str(n), c["document_id"], "", 0, len(c["text"]), c["text"], c.get("title") or "Source"),
                0.0,
                n,
                "given",
            )
            for n, c in enumerate(row["contexts"], 1)
        ]
        messages = prompts.grounded(turns[-1].content, hits, turns[:-1], context_chars)
        found.append(Case(row["task_id"], "mtrag-un", tuple(messages), label == "UNANSWERABLE"))
    return found


def exam_cases(path: Path, retriever: Retriever | None, limit: int | None = None, sources: int = 3) -> list[Case]:
    """Multiple-choice questions, alone or with the passages that the question (without its options) retrieves."""
    found = []
    rows = [row for _, row in files.read_jsonl(path, DatasetError) if len(row["options"]) == len(LETTERS)]
    for row in spread(rows, limit):
        asked = exam_prompt(row["text"], row["options"])
        if retriever is not None:
            chunks = [hit.chunk for hit in retriever.search(row["text"], k=sources).hits]
            asked = f"{source_blocks(chunks)}\n\n{asked}"
        suite = "dev exam with notes" if retriever is not None else "dev exam"
        messages = (Message("system", EXAM), Message("user", asked))
        found.append(Case(row["_id"], suite, messages, letter=LETTERS[row["correct"]]))
    return found


def spread(items: Sequence[T], limit: int | None) -> Sequence[T]:
    """At most `limit` of the items, evenly spread over them."""
    if limit is None or len(items) <= limit:
        return items
    return [items[n * len(items) // limit] for n in range(limit)]


def evaluate(client: ChatClient, cases: Sequence[Case], path: Path, concurrency: int = 8) -> list[Row]:
    """One row a case: `refused` and `text`, or `chosen`. Kept in `path` as they come: a killed run goes on where it was."""

    def one(case: Case) -> Row:
        if case.letter:
            return {"id": case.id, "suite": case.suite, "chosen": client.choose(case.messages, LETTERS).best}
        text = client.complete(case.messages, max_tokens=ANSWER_TOKENS).text
        return {"id": case.id, "suite": case.suite, "text": text, "refused": prompts.declined(text)}

    model = client.endpoint.model
    jobs = {f"{model} {case.suite} {case.id} {_digest(case)}": case for case in cases}
    return list(journal.each(one, jobs, path, label=model, unit="case", concurrency=concurrency).values())


def _digest(case: Case) -> str:
    return hashlib.sha256("\0".join(m.content for m in case.messages).encode()).hexdigest()[:12]


def summary(cases: Sequence[Case], rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Interval]]:
    """By suite and metric: value, and the bounds of its 95 % bootstrap interval."""
    found: dict[str, dict[str, Interval]] = {}
    for suite, pairs in _by_suite(cases, rows).items():
        found[suite] = {
            name: (statistic(pairs), *metrics.bootstrap(pairs, statistic))
            for name, statistic in _statistics(pairs).items()
        }
    return found


def difference(
    cases: Sequence[Case], before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Interval]]:
    """The same for the gain of `after` over `before`, the questions drawn for both alike."""
    found: dict[str, dict[str, Interval]] = {}
    for suite, old in _by_suite(cases, before).items():
        new = _by_suite(cases, after)[suite]
        triples = [(case, b, a) for (case, b), (_, a) in zip(old, new, strict=True)]
        found[suite] = {}
        for name, statistic in _statistics(old).items():

            def gain(drawn: Sequence[Any], statistic: Callable[[Any], float] = statistic) -> float:
                return statistic([(c, a) for c, _, a in drawn]) - statistic([(c, b) for c, b, _ in drawn])

            found[suite][name] = (gain(triples), *metrics.bootstrap(triples, gain))
    return found


def _by_suite(cases: Sequence[Case], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[Case, Any]]]:
    found: dict[str, list[tuple[Case, Any]]] = {}
    for case, row in zip(cases, rows, strict=True):
        found.setdefault(case.suite, []).append((case, row))
    return found


def _statistics(pairs: Sequence[Any]) -> dict[str, Any]:
    if pairs[0][0].letter:
        return {"accuracy": lambda p: sum(c.letter == r["chosen"] for c, r in p) / len(p)}

    def refusal(index: int) -> Any:
        return lambda p: metrics.refusal([r["refused"] for _, r in p], [c.refuse for c, _ in p])[index]

    found = {"refusal precision": refusal(0), "refusal recall": refusal(1), "refusal F1": refusal(2)}
    if any(case.gold for case, _ in pairs):
        found["citation precision"] = lambda p: metrics.citation_precision(
            [r["text"] for c, r in p if c.gold], [c.gold for c, _ in p if c.gold]
        )
    return found
