"""What each learner has answered, is to review and has sat: one SQLite file. "Forget me" deletes every row of theirs.

The file knows its version: an older one is copied beside itself, then brought up to date in one transaction a step.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.errors import AgentError

_MIGRATIONS = (
    """
    create table answers (
      learner text not null, question_id text not null, task text not null, topic text not null,
      correct integer not null, at real not null
    );
    create index answers_by_learner on answers (learner, at);
    """,
    """
    alter table answers add column seconds real;
    alter table answers add column confidence text not null default '';
    create table cards (
      learner text not null, id text not null, front text not null, back text not null, note text not null,
      state text not null, due real not null, primary key (learner, id)
    );
    create table reviews (learner text not null, card text not null, rating integer not null, at real not null);
    create index reviews_by_learner on reviews (learner, at);
    create table sittings (
      learner text not null, id text not null, row text not null, started real not null, ended real,
      primary key (learner, id)
    );
    create table reports (
      question_id text not null, learner text not null, reason text not null, at real not null,
      primary key (question_id, learner)
    );
    """,
)
_OF_A_LEARNER = ("answers", "cards", "reviews", "sittings")
_EXPORT = "genl-tutor progress"


@dataclass(frozen=True, slots=True)
class Mark:
    """One answered question; `at` in seconds since 1970, `seconds` taken where that was measured."""

    question_id: str
    task: str
    topic: str
    correct: bool
    at: float
    seconds: float | None = None
    confidence: str = ""


class Learners:
    """The store of all learners. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._migrate()
        except (OSError, sqlite3.DatabaseError) as error:
            raise AgentError(
                f"{path}: cannot be used for learners ({error}). Move it away, or set `learners`"
            ) from error

    def learner(self, name: str) -> Learner:
        """One learner's view."""
        return Learner(self, name)

    def forget(self, name: str) -> int:
        """Deletes all of a learner's rows and rewrites the file without them; how many there were.

        A question they reported stays out of the bank, without their name.
        """
        with self.open() as db:
            gone = sum(
                db.execute(f"delete from {table} where learner = ?", (name,)).rowcount for table in _OF_A_LEARNER
            )
            db.execute(
                "insert or ignore into reports select question_id, '', '', at from reports where learner = ?", (name,)
            )
            db.execute("delete from reports where learner = ?", (name,))
        with self._lock, closing(sqlite3.connect(self.path, timeout=30)) as db:
            db.execute("vacuum")
        return gone

    def reported(self) -> frozenset[str]:
        """Ids of the questions that were reported as bad."""
        with self.open() as db:
            return frozenset(row[0] for row in db.execute("select question_id from reports"))

    def restore(self, question_id: str) -> int:
        """Takes the reports of a question back; how many there were."""
        with self.open() as db:
            return db.execute("delete from reports where question_id = ?", (question_id,)).rowcount

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept together, or not at all where the block fails."""
        with self._lock, closing(sqlite3.connect(self.path, timeout=30)) as db, db:
            yield db

    def _migrate(self) -> None:
        with self._lock, closing(sqlite3.connect(self.path, timeout=30)) as db:
            version = db.execute("pragma user_version").fetchone()[0]
            held = db.execute("select count(*) from sqlite_master where name = 'answers'").fetchone()[0]
            version = version or held  # the first files were not numbered
            if version > len(_MIGRATIONS):
                raise AgentError(
                    f"{self.path}: was written by a newer version of the tutor. Update it, or set `learners`"
                )
            if held and version < len(_MIGRATIONS):
                with closing(sqlite3.connect(self.path.with_name(f"{self.path.name}.v{version}"))) as copy:
                    db.backup(copy)
            for number, script in enumerate(_MIGRATIONS[version:], version + 1):
                db.executescript(f"begin; {script} pragma user_version = {number}; commit;")


class Learner:
    """One learner's answers, and what they reported."""

    def __init__(self, store: Learners, name: str) -> None:
        self.store, self.name = store, name

    def mark(
        self,
        question_id: str,
        task: str,
        topic: str,
        correct: bool,
        seconds: float | None = None,
        confidence: str = "",
        at: float | None = None,
    ) -> None:
        """Keeps one answer."""
        row = (
            self.name,
            question_id,
            task,
            topic,
            int(correct),
            time.time() if at is None else at,
            seconds,
            confidence,
        )
        with self.store.open() as db:
            db.execute("insert into answers values (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def marks(self) -> list[Mark]:
        """All answers, oldest first."""
        with self.store.open() as db:
            rows = db.execute(
                "select question_id, task, topic, correct, at, seconds, confidence from answers where learner = ? "
                "order by at",
                (self.name,),
            ).fetchall()
        return [Mark(q, task, topic, bool(right), *rest) for q, task, topic, right, *rest in rows]

    def report(self, question_id: str, reason: str) -> None:
        """Takes a question out of the bank."""
        with self.store.open() as db:
            db.execute(
                "insert or replace into reports values (?, ?, ?, ?)", (question_id, self.name, reason, time.time())
            )

    def export(self) -> dict[str, Any]:
        """All that is kept about the learner, as JSON holds it."""
        found: dict[str, Any] = {"format": _EXPORT, "version": len(_MIGRATIONS)}
        with self.store.open() as db:
            db.row_factory = sqlite3.Row
            for table in _OF_A_LEARNER:
                rows = db.execute(f"select * from {table} where learner = ? order by rowid", (self.name,))
                found[table] = [{k: row[k] for k in row.keys() if k != "learner"} for row in rows]  # noqa: SIM118
        return found

    def restore(self, exported: Mapping[str, Any]) -> int:
        """Puts an export in the place of what is kept; how many rows. AgentError, and nothing changed, where it is none."""
        if not isinstance(exported, Mapping) or exported.get("format") != _EXPORT:
            raise AgentError("this is no progress exported here. Choose a file made by “Export my progress”")
        if exported.get("version") != len(_MIGRATIONS):
            raise AgentError(f"this progress is of version {exported.get('version')}, here it is {len(_MIGRATIONS)}")
        count = 0
        try:
            with self.store.open() as db:
                for table in _OF_A_LEARNER:
                    names = [row[1] for row in db.execute(f"pragma table_info({table})")]
                    db.execute(f"delete from {table} where learner = ?", (self.name,))
                    for row in exported[table]:
                        values = [self.name if name == "learner" else row[name] for name in names]
                        db.execute(f"insert into {table} values ({', '.join('?' * len(names))})", values)
                        count += 1
        except (KeyError, TypeError, sqlite3.Error) as error:
            raise AgentError(
                f"this progress cannot be read ({type(error).__name__}: {error}); nothing was changed"
            ) from error
        return count


def dumps(exported: Mapping[str, Any]) -> str:
    """An export as the text of its file."""
    return json.dumps(exported, ensure_ascii=False, indent=1)
