"""The bank of practice questions: `data/questions/*.jsonl`, one question a line, as the design's question row."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.errors import AgentError
from core import files
from rag.citations import says

if TYPE_CHECKING:
    from core.types import Document

OPTION_LETTERS = ("A", "B", "C", "D", "E")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the key is stated: `document.text[start:end] == quote` after whitespace normalisation."""

    doc_id: str
    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `correct` holds the indices of the right options: one of four, or two of five."""

    id: str
    domain: int
    task: str
    difficulty: str
    bloom: str
    question: str
    options: tuple[str, ...]
    correct: tuple[int, ...]
    explanation: str
    why_not: tuple[str, ...]
    source: Source
    checks: Mapping[str, Any]

    @property
    def wrong(self) -> tuple[int, ...]:
        """The indices of the other options, to which `why_not` belongs."""
        return tuple(i for i in range(len(self.options)) if i not in self.correct)

    @property
    def letters(self) -> str:
        """The right letters, as "B" or "A and D"."""
        return " and ".join(OPTION_LETTERS[i] for i in self.correct)

    def is_right(self, chosen: Collection[int]) -> bool:
        """Whether these options are all the right ones and no other."""
        return set(chosen) == set(self.correct)


class Bank:
    """All questions, by id."""

    def __init__(self, questions: Mapping[str, Question]) -> None:
        self.questions = dict(questions)

    @staticmethod
    def open(folder: Path) -> Bank:
        """Reads every file of the folder; an absent folder is an empty bank. AgentError names the bad line."""
        found: dict[str, Question] = {}
        for path in sorted(folder.glob("*.jsonl")):
            for number, question in _questions(path):
                if question.id in found:
                    raise AgentError(f"{path}:{number}: question id {question.id!r} appears twice")
                found[question.id] = question
        return Bank(found)

    def without(self, ids: Collection[str]) -> Bank:
        """The bank less some questions."""
        return Bank({i: q for i, q in self.questions.items() if i not in ids}) if ids else self

    def __getitem__(self, question_id: str) -> Question:
        try:
            return self.questions[question_id]
        except KeyError:
            raise AgentError(f"there is no question {question_id!r} in the bank") from None

    def __len__(self) -> int:
        return len(self.questions)


def passage(source: Source, document: Document) -> str:
    """The whole paragraphs that the source's span lies in."""
    start = document.text.rfind("\n\n", 0, source.start)
    end = document.text.find("\n\n", source.end)
    return document.text[start + 2 if start >= 0 else 0 : end if end >= 0 else None].strip()


def valid(source: Source, document: Document) -> bool:
    """Whether the quote is what the document says there, white space aside."""
    return says(document, source.start, source.end, source.quote)


def _questions(path: Path) -> Iterator[tuple[int, Question]]:
    for number, row in files.read_jsonl(path, AgentError):
        try:
            yield number, question(row)
        except (ValueError, KeyError, TypeError) as error:
            raise AgentError(f"{path}:{number}: not a question ({type(error).__name__}: {error})") from None


def question(row: Mapping[str, Any]) -> Question:
    """A row as a question. KeyError, TypeError or ValueError where it is none."""
    options, correct = tuple(map(str, row["options"])), tuple(int(i) for i in row["correct"])
    if (len(options), len(correct)) not in ((4, 1), (5, 2)) or not all(0 <= i < len(options) for i in correct):
        raise ValueError("one right option of four, or two of five")
    source = row["source"]
    return Question(
        str(row["id"]), int(row["domain"]), str(row["task"]), str(row["difficulty"]), str(row["bloom"]),
        str(row["question"]), options, correct, str(row["explanation"]), tuple(map(str, row["why_not"])),
        Source(str(source["doc_id"]), int(source["start"]), int(source["end"]), str(source["quote"])),
        dict(row.get("checks", {})),
    )  # fmt: skip


def row_of(q: Question) -> str:
    """The question as a line of a bank."""
    return json.dumps(asdict(q), ensure_ascii=False)
