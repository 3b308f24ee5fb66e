"""Conversations that survive restarts: LangGraph's SQLite checkpointer, with the retention it does not have.

The checkpointer keeps every step's whole state for ever. A turn is only ever continued from its end, so a thread keeps
its last checkpoint; the least recently used threads go beyond `kept`; freed pages return to the file system.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from agents.errors import AgentError

if TYPE_CHECKING:
    from langgraph.checkpoint.sqlite import SqliteSaver


class Threads:
    """All threads of one file. Safe to share between threads of this process."""

    def __init__(self, path: Path, kept: int) -> None:
        from langgraph.checkpoint.sqlite import SqliteSaver

        self.path, self._kept = path, kept
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(path, check_same_thread=False, timeout=30)
            db.execute("pragma auto_vacuum = incremental")  # of effect before the first table is made
            self.saver: SqliteSaver = SqliteSaver(db)
            self.saver.setup()
            db.execute("create table if not exists used (thread_id text primary key, at integer not null)")
            db.commit()
        except (OSError, sqlite3.DatabaseError) as error:
            raise AgentError(
                f"{path}: cannot be used for conversations ({error}). Move it away, or set `threads`"
            ) from error

    @staticmethod
    def key(learner: str, thread: str) -> str:
        """The checkpointer's thread id: a learner's threads share a prefix that no other learner's has."""
        return f"{len(learner)}:{learner}:{thread}"

    def keep_last(self, thread_id: str) -> None:
        """Drops all but the thread's last checkpoint, and the threads not used for longest beyond the number kept."""
        with self.saver.lock, self.saver.conn as db:
            for table in ("checkpoints", "writes"):
                db.execute(
                    f"delete from {table} where thread_id = ? and checkpoint_id < "
                    "(select max(checkpoint_id) from checkpoints where thread_id = ?)",
                    (thread_id, thread_id),
                )
            db.execute("insert or replace into used select ?, coalesce(max(at), 0) + 1 from used", (thread_id,))
            old = db.execute("select thread_id from used order by at desc limit -1 offset ?", (self._kept,)).fetchall()
        for (name,) in old:
            self._delete(name)
        self._shrink()

    def forget(self, learner: str) -> int:
        """Deletes all threads of a learner; how many there were."""
        prefix = self.key(learner, "")
        with self.saver.lock:
            found = self.saver.conn.execute("select thread_id from used").fetchall()
        mine = [name for (name,) in found if name.startswith(prefix)]
        for name in mine:
            self._delete(name)
        self._shrink()
        return len(mine)

    def drop(self, thread_id: str) -> None:
        """Deletes one thread."""
        self._delete(thread_id)
        self._shrink()

    def close(self) -> None:
        """Closes the file."""
        self.saver.conn.close()

    def _delete(self, thread_id: str) -> None:
        self.saver.delete_thread(thread_id)
        with self.saver.lock, self.saver.conn as db:
            db.execute("delete from used where thread_id = ?", (thread_id,))

    def _shrink(self) -> None:
        with self.saver.lock:
            self.saver.conn.execute("pragma incremental_vacuum").fetchall()
            self.saver.conn.commit()
