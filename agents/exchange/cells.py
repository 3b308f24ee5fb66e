"""A question as flat cells of text, by column: what a table's row and an Anki note hold. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from agents.bank import OPTION_LETTERS, Question
from agents.errors import AgentError

OPTIONS = tuple(f"option_{letter.lower()}" for letter in OPTION_LETTERS)
WHY_NOT = tuple(f"why_not_{letter.lower()}" for letter in OPTION_LETTERS)
NEEDED = ("question", *OPTIONS[:4], "correct")
COLUMNS = (
    "id", "domain", "task", "difficulty", "bloom", "question", *OPTIONS, "correct", "explanation", *WHY_NOT,
    "doc_id", "start", "end", "quote", "checks",
)  # fmt: skip
_LETTERS = re.compile(rf"[{''.join(OPTION_LETTERS)}](?:(?:\s*(?:,|;|&|and)\s*|\s+)[{''.join(OPTION_LETTERS)}])*", re.I)


def to_cells(q: Question) -> dict[str, str]:
    """The text of every column. AgentError for a question with more sentences on wrong options than wrong options."""
    if len(q.why_not) > len(q.wrong):
        raise AgentError(f"question {q.id!r}: {len(q.why_not)} texts in why_not for {len(q.wrong)} wrong options")
    found = dict.fromkeys(COLUMNS, "") | {
        "id": q.id, "domain": str(q.domain), "task": q.task, "difficulty": q.difficulty, "bloom": q.bloom,
        "question": q.question, "correct": q.letters, "explanation": q.explanation, "doc_id": q.source.doc_id,
        "start": str(q.source.start), "end": str(q.source.end), "quote": q.source.quote,
        "checks": json.dumps(dict(q.checks), ensure_ascii=False),
    }  # fmt: skip
    found |= zip(OPTIONS, q.options, strict=False)
    return found | {WHY_NOT[i]: text for i, text in zip(q.wrong, q.why_not, strict=False)}


def to_row(cells: Mapping[str, str], where: str) -> dict[str, Any]:
    """The cells as a question row, without what they lack. AgentError, which begins with `where`, names a bad cell."""
    given = cells.get("correct", "").strip()
    if not _LETTERS.fullmatch(given):
        raise AgentError(f"{where}: correct is {given!r}. Give letters, like B or “A and D”")
    correct = sorted({OPTION_LETTERS.index(letter) for letter in re.findall(r"\b[A-E]\b", given.upper())})
    n = 5 if cells.get(OPTIONS[4]) or len(correct) == 2 else 4
    row: dict[str, Any] = {name: cells[name] for name in ("id", "task", "difficulty", "bloom") if cells.get(name)}
    row |= {
        "question": cells.get("question", ""), "options": [cells.get(name, "") for name in OPTIONS[:n]],
        "correct": correct, "explanation": cells.get("explanation", ""),
        "why_not": filled(cells.get(name, "") for i, name in enumerate(WHY_NOT[:n]) if i not in correct),
    }  # fmt: skip
    if cells.get("domain", "").strip():
        row["domain"] = _whole(cells, "domain", where)
    if cells.get("doc_id"):
        row["source"] = {
            "doc_id": cells["doc_id"], "start": _whole(cells, "start", where), "end": _whole(cells, "end", where),
            "quote": cells.get("quote", ""),
        }  # fmt: skip
    if cells.get("checks", "").strip():
        try:
            row["checks"] = dict(json.loads(cells["checks"]))
        except (ValueError, TypeError):
            raise AgentError(f"{where}: checks is no JSON object. Leave it blank, or as it was exported") from None
    return row


def filled(texts: Iterable[str]) -> list[str]:
    """The texts, or none where all are blank."""
    found = list(texts)
    return found if any(found) else []


def _whole(cells: Mapping[str, str], name: str, where: str) -> int:
    try:
        return int(cells.get(name, ""))
    except ValueError:
        raise AgentError(f"{where}: {name} is {cells.get(name, '')!r}. Give a whole number") from None
