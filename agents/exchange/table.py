"""Questions as a CSV table for a spreadsheet: UTF-8, a header, a row a question, the columns of cells.py."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agents.bank import Question
from agents.errors import AgentError
from agents.exchange import cells, utf8
from core import files

# A spreadsheet runs the first kind of text as a formula, and turns the second into a number or a date (1.10 into 1.1, or 1 October).
_FORMULA = r"[=+\-@\t\r\n＝＋－＠]"
_NUMBER = r"[.,]?\d[\d.,:/%eE\s\-]*\Z|(?:true|false)\Z"
_GUARDED = re.compile(rf"'*(?:{_FORMULA}|{_NUMBER})", re.IGNORECASE)
_TEXTS = tuple(name for name in cells.COLUMNS if name not in ("domain", "start", "end", "checks"))


def write(questions: Sequence[Question], path: Path) -> None:
    """Replaces `path` by the table. It starts with a byte-order mark, by which Excel knows UTF-8."""
    table = io.StringIO(newline="")
    rows = csv.writer(table)
    rows.writerow(cells.COLUMNS)
    for q in questions:
        found = cells.to_cells(q)
        rows.writerow(guarded(found[name]) if name in _TEXTS else found[name] for name in cells.COLUMNS)
    with files.replacing(path) as draft:
        draft.write_bytes(table.getvalue().encode("utf-8-sig"))


def read(path: Path) -> list[dict[str, Any]]:
    """Question rows; of the columns only cells.NEEDED must be there. AgentError names the line that is no question."""
    text = utf8.text(path)
    first = text.split("\n", 1)[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    found: list[dict[str, Any]] = []
    try:
        header = [name.strip().lower() for name in next(lines, [])]
        missing = [name for name in cells.NEEDED if name not in header]
        if missing:
            raise AgentError(f"{path}:1: no column {', '.join(missing)}. An exported .csv shows all columns")
        for number, row in _numbered(lines):
            if not any(row):
                continue
            if len(row) > len(header):
                raise AgentError(
                    f"{path}:{number}: {len(row)} cells under {len(header)} columns. Quote cells with commas"
                )
            named = dict(zip(header, row, strict=False))
            texts = {name: bared(named[name]) for name in _TEXTS if name in named}
            found.append(cells.to_row(named | texts, f"{path}:{number}"))
    except csv.Error as error:
        raise AgentError(
            f"{path}:{lines.line_num}: not CSV ({error}). Close each quoted cell, double quotes in it"
        ) from None
    return found


def guarded(text: str) -> str:
    """The text behind an apostrophe, where a spreadsheet would make something else of it."""
    return f"'{text}" if _GUARDED.match(text) else text


def bared(text: str) -> str:
    """The text without the apostrophe that `guarded` gives."""
    return text[1:] if text.startswith("'") and _GUARDED.match(text) else text


def _numbered(lines: Any) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of the line it begins on."""
    begins = lines.line_num + 1
    for row in lines:
        yield begins, row
        begins = lines.line_num + 1
