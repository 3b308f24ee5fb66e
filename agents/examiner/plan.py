"""What is to be asked: how many questions of each domain and task, how hard, and about which passage. Pure but for the search."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, cycle
from typing import TYPE_CHECKING

from core.exam import DOMAINS, TASKS, apportion
from core.types import Chunk
from rag.chunking import sentences
from rag.notes import listed

if TYPE_CHECKING:
    from agents.bank import Question
    from core.types import Document
    from rag.retriever import Retriever

_DIFFICULTIES = ("easy", "medium", "hard", "medium", "medium")
_BLOOM = {"easy": ("remember", "understand"), "medium": ("understand", "apply"), "hard": ("apply", "analyse")}
_TWO_ANSWERS_EVERY = 8
_MAX_SENTENCES = 12
_SHORT_FACT = 28  # words
_LEANS = re.compile(
    r"(?:it|its|this|that|these|those|they|their|such|here|both|then|so|for example|in that case)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Slot:
    """One question to be written; `answers` is how many options are right, `place` where the right one stands."""

    number: int
    domain: int
    task: str
    difficulty: str
    bloom: str
    answers: int
    place: int


def slots(n: int, domain: int | None = None, task: str | None = None) -> list[Slot]:
    """n questions by the exam's weights, or all of one domain or task; tasks take turns, places of the key are even."""
    chosen = [d for d in DOMAINS if domain in (None, d.number) and (task is None or task in {t.id for t in d.tasks})]
    found = []
    difficulty, number = cycle(_DIFFICULTIES), count()
    turns = {level: cycle(levels) for level, levels in _BLOOM.items()}
    for d, share in zip(chosen, apportion(n, [d.weight for d in chosen]), strict=True):
        tasks = cycle([t.id for t in d.tasks if task in (None, t.id)])
        for _ in range(share):
            at, level = next(number), next(difficulty)
            answers = 2 if at % _TWO_ANSWERS_EVERY == _TWO_ANSWERS_EVERY - 1 else 1
            found.append(Slot(at, d.number, next(tasks), level, next(turns[level]), answers, at % 4))
    return found


def passages(retriever: Retriever, task: str) -> Iterator[Chunk]:
    """Passages that a task's question can rest on, the notes that name the task first, one of each note in turn."""
    naming = {d.doc_id for d in retriever.documents().values() if task in map(str, listed(d, "tasks"))}
    by_note: dict[str, list[Chunk]] = {}
    for chunk in retriever.index.chunks:
        if chunk.doc_id in naming and askable(chunk):
            by_note.setdefault(chunk.doc_id, []).append(chunk)
    longest = max(map(len, by_note.values()), default=0)
    taken = [c[n] for n in range(longest) for c in by_note.values() if n < len(c)]
    yield from taken
    known = {c.chunk_id for c in taken}
    for hit in retriever.search(TASKS[task].text, k=40).hits:
        if hit.chunk.chunk_id not in known and askable(hit.chunk):
            yield hit.chunk


def statements(chunk: Chunk) -> list[str]:
    """The passage's sentences, word for word, in order."""
    return [chunk.text[a:b] for a, b in sentences(chunk.text) if len(chunk.text[a:b].split()) >= 5]


def facts(chunk: Chunk) -> list[str]:
    """The sentences that can be asked about by themselves; all of them where none can."""
    told = statements(chunk)
    good = [text for text in told if not _LEANS.match(text) and not text.endswith(":")]
    return [text for text in good if len(text.split()) <= _SHORT_FACT] or good or told


def task_of(doc_id: str, domain: int | None, retriever: Retriever, bank: Iterable[Question]) -> str | None:
    """A task statement for a question on that note, of the domain where one is given; None where nothing tells.

    What most of the bank's questions on the note are of; else the note's own first task; else what most of the bank's
    questions on the notes of its folder are of.
    """
    notes = retriever.documents()
    folder = doc_id.rpartition("/")[0]
    fitting = [q for q in bank if domain in (None, q.domain)]
    on_note = Counter(q.task for q in fitting if q.source.doc_id == doc_id)
    in_folder = Counter(q.task for q in fitting if q.source.doc_id.rpartition("/")[0] == folder)
    own = [t for t in _own_tasks(notes.get(doc_id)) if domain in (None, int(t.split(".")[0]))]
    ranked = [*(t for t, _ in on_note.most_common(1)), *own, *(t for t, _ in in_folder.most_common(1))]
    return ranked[0] if ranked else None


def askable(chunk: Chunk) -> bool:
    """Prose of a few sentences: tables and code make poor quotes."""
    return 1 <= len(statements(chunk)) <= _MAX_SENTENCES and "```" not in chunk.text and "\n|" not in chunk.text


def _own_tasks(note: Document | None) -> list[str]:
    return [str(t) for t in listed(note, "tasks") if str(t) in TASKS] if note else []
