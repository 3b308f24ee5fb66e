"""Long work that survives a kill: each job's result is written down as it comes, and only what is missing is run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

Row = dict[str, Any]
Job = TypeVar("Job")


def each(
    work: Callable[[Job], Row], jobs: Mapping[str, Job], path: Path, *, label: str, unit: str, concurrency: int = 1
) -> dict[str, Row]:
    """The row of every job, by the jobs' keys; `path` holds them as lines of `{"key": …, "row": …}`.

    Rows of keys already there are taken as they are, so a key must tell apart whatever changes the result. An exception
    of a job ends the run; what was finished stays.
    """
    from tqdm import tqdm

    done = read(path)
    waiting = {key: job for key, job in jobs.items() if key not in done}
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("a", encoding="utf-8") as journal,
        ThreadPoolExecutor(concurrency) as pool,
        tqdm(total=len(jobs), initial=len(jobs) - len(waiting), desc=label, unit=unit, disable=None) as bar,
    ):
        if journal.tell() and not path.read_bytes().endswith(b"\n"):
            journal.write("\n")  # after the half line of a killed run
        futures = {pool.submit(work, job): key for key, job in waiting.items()}
        try:
            for future in as_completed(futures):
                key = futures[future]
                done[key] = future.result()
                journal.write(json.dumps({"key": key, "row": done[key]}, ensure_ascii=False) + "\n")
                journal.flush()
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {key: done[key] for key in jobs}


def read(path: Path) -> dict[str, Row]:
    """The rows kept so far; none where there is no journal. A line cut off by a kill counts as not done."""
    done: dict[str, Row] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                item = json.loads(line)
                done[item["key"]] = item["row"]
            except (ValueError, KeyError, TypeError):
                continue
    return done
