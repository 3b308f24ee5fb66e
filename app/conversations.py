"""Conversations kept on disk, one JSON file each in their learner's folder, so that a reload or a restart finds them again."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from core import files
from core.types import Message

MAX_TURNS = 200
_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(frozen=True, slots=True)
class Turn:
    """A question, the answer's text (what later turns are told), and the answer as rendered."""

    question: str
    answer: str
    html: str


def new_id() -> str:
    """A conversation id that cannot be guessed."""
    return secrets.token_urlsafe(24)


def folder_of(root: Path, learner: str) -> Path:
    """The folder of one learner's conversations; no name leads out of `root`."""
    return root / f"learner-{quote(learner, safe='')}"


def count(folder: Path) -> int:
    """How many conversations a folder holds."""
    return len(list(folder.glob("[!.]*.json")))


def forget(folder: Path) -> int:
    """Deletes all conversations of a folder; how many there were."""
    found = list(folder.glob("[!.]*.json"))
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def load(folder: Path, conversation: str) -> list[Turn]:
    """The turns so far; none for an unknown or unreadable conversation."""
    path = _path(folder, conversation)
    try:
        return [Turn(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path else []
    except (OSError, ValueError, TypeError):
        return []


def save(folder: Path, conversation: str, turns: list[Turn]) -> None:
    """Keeps the last turns; an empty list deletes the conversation."""
    path = _path(folder, conversation)
    if path is None:
        return
    if not turns:
        path.unlink(missing_ok=True)
        return
    files.write(path, json.dumps([asdict(t) for t in turns[-MAX_TURNS:]], ensure_ascii=False))


def messages(turns: list[Turn]) -> list[Message]:
    """The conversation as the model's messages."""
    return [m for t in turns for m in (Message("user", t.question), Message("assistant", t.answer))]


def _path(folder: Path, conversation: str) -> Path | None:
    # The id comes back from the browser: anything that is not one of ours opens nothing.
    return folder / f"{conversation}.json" if _ID.fullmatch(conversation) else None
