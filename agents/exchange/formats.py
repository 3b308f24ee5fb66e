"""One way in and one way out for all formats of question files: the suffix says which."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.bank import Bank, Question, question, row_of
from agents.errors import AgentError
from agents.exchange import anki, gift, table
from core import files

_WRITERS = {".apkg": anki.write, ".gift": gift.write, ".txt": gift.write, ".csv": table.write}
_READERS = {".apkg": anki.read, ".gift": gift.read, ".txt": gift.read, ".csv": table.read}


def write(questions: Sequence[Question], path: Path) -> None:
    """Replaces `path` by the questions. AgentError for a suffix that is none of ours."""
    try:
        if _suffix(path) == ".jsonl":
            files.write(path, "".join(f"{row_of(q)}\n" for q in questions))
        else:
            _WRITERS[_suffix(path)](questions, path)
    except UnicodeEncodeError as error:
        raise AgentError(f"{path}: a question holds half a character ({error.object[error.start]!r})") from None


def read(path: Path) -> list[dict[str, Any]]:
    """Question rows, each with an id, without what the file does not say. AgentError names file and line of a mistake.

    A row without an id gets one from its words, the same at each reading.
    """
    if _suffix(path) == ".jsonl":
        rows = [row for _, row in files.read_jsonl(path, AgentError)]
    else:
        rows = _READERS[_suffix(path)](path)
    if not rows:
        raise AgentError(f"{path}: no questions in it")
    given = Counter(str(row["id"]) for row in rows if row.get("id"))
    for question_id, times in given.items():
        if times > 1:
            raise AgentError(f"{path}: question id {question_id!r} appears {times} times. Give each question its own")
    made: Counter[str] = Counter()
    for row in rows:
        row["id"] = str(row.get("id") or "")
        if not row["id"]:
            words = "\n".join(map(str, (row.get("question"), row.get("options"))))
            name = f"import-{hashlib.sha256(words.encode(errors='replace')).hexdigest()[:10]}"
            made[name] += 1
            row["id"] = name if made[name] == 1 else f"{name}-{made[name]}"
    return rows


def questions(paths: Sequence[Path]) -> list[Question]:
    """All questions of banks: folders of JSON lines, or files of any format. AgentError names what is no whole question."""
    found: dict[str, Question] = {}
    for path in paths:
        held = Bank.open(path).questions.values() if path.is_dir() else [_whole(row, path) for row in read(path)]
        for q in held:
            if q.id in found:
                raise AgentError(f"{path}: question {q.id!r} is in another bank given too. Leave one of them out")
            found[q.id] = q
    return list(found.values())


def _whole(row: Mapping[str, Any], path: Path) -> Question:
    try:
        return question(row)
    except (KeyError, TypeError, ValueError) as error:
        raise AgentError(
            f"{path}: {row['id']!r} is no whole question ({type(error).__name__}: {error}). "
            "Bring the file in first: python -m agents import"
        ) from None


def _suffix(path: Path) -> str:
    if path.suffix.lower() not in (*_WRITERS, ".jsonl"):
        raise AgentError(
            f"{path}: unknown suffix. Known are .apkg (Anki), .gift or .gift.txt (Moodle), .csv and .jsonl"
        )
    return path.suffix.lower()
