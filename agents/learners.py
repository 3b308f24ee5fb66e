"""What each learner has mastered and missed: SQLite, one row an answered question. "Forget me" deletes every row of theirs."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agents.errors import AgentError

_SCHEMA = """
create table if not exists answers (
  learner text not null, question_id text not null, task text not null, topic text not null,
  correct integer not null, at real not null
);
create index if not exists answers_by_learner on answers (learner, at);
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """One answered question; `at` in seconds since 1970."""

    question_id: str
    task: str
    topic: str
    correct: bool
    at: float


class Learners:
    """The store of all learners. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as db:
                db.executescript(_SCHEMA)
        except (OSError, sqlite3.DatabaseError) as error:
            raise AgentError(
                f"{path}: cannot be used for learners ({error}). Move it away, or set `learners`"
            ) from error

    def learner(self, name: str) -> Learner:
        """One learner's view."""
        return Learner(self, name)

    def forget(self, name: str) -> int:
        """Deletes all of a learner's rows and rewrites the file without them; how many there were."""
        with self._open() as db:
            gone = db.execute("delete from answers where learner = ?", (name,)).rowcount
        with self._lock, closing(sqlite3.connect(self.path, timeout=30)) as db:
            db.execute("vacuum")
        return gone

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock, closing(sqlite3.connect(self.path, timeout=30)) as db, db:
            yield db


class Learner:
    """One learner's marks."""

    def __init__(self, store: Learners, name: str) -> None:
        self.store, self.name = store, name

    def mark(self, question_id: str, task: str, topic: str, correct: bool) -> None:
        """Keeps one answer."""
        with self.store._open() as db:
            db.execute(
                "insert into answers values (?, ?, ?, ?, ?, ?)",
                (self.name, question_id, task, topic, int(correct), time.time()),
            )

    def marks(self) -> list[Mark]:
        """All answers, oldest first."""
        with self.store._open() as db:
            rows = db.execute(
                "select question_id, task, topic, correct, at from answers where learner = ? order by at", (self.name,)
            ).fetchall()
        return [Mark(q, task, topic, bool(correct), at) for q, task, topic, correct, at in rows]
