"""An adapter against its base, through the server that serves both: refusals, citations, exam accuracy.

Every model gets the same prompts; figures come with 95 % bootstrap intervals over the questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
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


def exam_cases(path: Path, retriever: Retriever | None, sources: int = 3) -> list[Case]:
    """Multiple-choice questions, alone or with the passages that the question (without its options) retrieves."""
    found = []
    for _, row in files.read_jsonl(path, DatasetError):
        if len(row["options"]) != len(LETTERS):
            continue
        asked = exam_prompt(row["text"], row["options"])
        if retriever is not None:
            chunks = [hit.chunk for hit in retriever.search(row["text"], k=sources).hits]
            asked = f"{source_blocks(chunks)}\n\n{asked}"
        suite = "dev exam with notes" if retriever is not None else "dev exam"
        messages = (Message("system", EXAM), Message("user", asked))
        found.append(Case(row["_id"], suite, messages, letter=LETTERS[row["correct"]]))
    return found


def evaluate(client: ChatClient, cases: Sequence[Case], concurrency: int = 8) -> list[dict[str, Any]]:
    """One row a case: `refused` and `text`, or `chosen`."""
    from tqdm import tqdm

    def one(case: Case) -> dict[str, Any]:
        if case.letter:
            return {"id": case.id, "suite": case.suite, "chosen": client.choose(case.messages, LETTERS).best}
        text = client.complete(case.messages, max_tokens=ANSWER_TOKENS).text
        return {"id": case.id, "suite": case.suite, "text": text, "refused": prompts.declined(text)}

    with ThreadPoolExecutor(concurrency) as pool:
        return list(tqdm(pool.map(one, cases), total=len(cases), desc=client.endpoint.model, disable=None))


def summary(
    cases: Sequence[Case], rows: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """By suite and metric: value, and the bounds of its 95 % bootstrap interval."""
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    for suite in dict.fromkeys(case.suite for case in cases):
        pairs = [(case, row) for case, row in zip(cases, rows, strict=True) if case.suite == suite]
        found[suite] = {
            name: (statistic(pairs), *metrics.bootstrap(pairs, statistic))
            for name, statistic in _statistics(pairs).items()
        }
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
