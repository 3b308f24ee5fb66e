"""The rules our own study notes keep: front matter, length, coverage of the exam's task statements, no near-copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.exam import DOMAINS, TASKS
from core.types import Document
from rag.documents import load_sources

MIN_WORDS, MAX_WORDS, SHINGLE, MAX_OVERLAP = 500, 1200, 8, 0.10


@dataclass(frozen=True, slots=True)
class NotesReport:
    """Counts over a folder of notes, and what is wrong with them, a line each."""

    notes: int
    words: int
    by_domain: dict[int, int]
    by_task: dict[str, int]
    problems: tuple[str, ...]


def check_notes(folder: Path) -> NotesReport:
    """Reads every note under `folder` and holds it against the rules. Raises DocumentError for unreadable files."""
    notes = load_sources([folder])
    problems = [f"{note.doc_id}: {problem}" for note in notes for problem in _front_matter(note) + _length(note)]
    by_task = Counter(str(task) for note in notes for task in listed(note, "tasks"))
    problems += [f"no note covers task {task.id} ({task.text})" for task in TASKS.values() if not by_task[task.id]]
    problems += _near_copies(notes)
    domains = Counter(note.metadata.get("domain") for note in notes)
    return NotesReport(
        len(notes),
        sum(len(note.text.split()) for note in notes),
        {d.number: domains[d.number] for d in DOMAINS},
        {task: by_task[task] for task in TASKS},
        tuple(problems),
    )


def listed(note: Document, key: str) -> list[object]:
    """A list of the note's front matter; empty where there is none."""
    value = note.metadata.get(key)
    return value if isinstance(value, list) else []


def _front_matter(note: Document) -> list[str]:
    problems = []
    if not isinstance(note.metadata.get("title"), str):
        problems.append("front matter lacks a title")
    if note.metadata.get("domain") not in {d.number for d in DOMAINS}:
        problems.append(f"front matter: domain must be 1 to {len(DOMAINS)}")
    unknown = [str(t) for t in listed(note, "tasks") if t not in TASKS]
    if unknown or not listed(note, "tasks"):
        problems.append(
            f"front matter: tasks must name task statements such as '1.3'{': unknown ' + ', '.join(unknown) if unknown else ''}"
        )
    if not listed(note, "sources") or not all(isinstance(s, str) and s.strip() for s in listed(note, "sources")):
        problems.append("front matter: sources must name at least one work")
    return problems


def _length(note: Document) -> list[str]:
    words = len(note.text.split())
    return [] if MIN_WORDS <= words <= MAX_WORDS else [f"{words} words, must have {MIN_WORDS} to {MAX_WORDS}"]


def _near_copies(notes: Sequence[Document]) -> list[str]:
    """Pairs that share more than a tenth of the shorter one's eight-word runs (containment; Broder 1997)."""
    runs = {}
    for note in notes:
        words = note.text.lower().split()
        runs[note.doc_id] = {tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}
    found = []
    ids = list(runs)
    for i, first in enumerate(ids):
        for second in ids[i + 1 :]:
            smaller = min(len(runs[first]), len(runs[second]))
            share = len(runs[first] & runs[second]) / smaller if smaller else 0.0
            if share > MAX_OVERLAP:
                found.append(f"{first} and {second} share {share:.0%} of their text")
    return found
