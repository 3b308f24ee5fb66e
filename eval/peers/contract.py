"""What every peer's program does: `python -m eval.peers.PEER CORPUS QUERIES WEIGHTS OUT`. Standard library only: peers have their own.

CORPUS and QUERIES are BEIR's JSON lines, WEIGHTS the embedder's folder. A peer gives `index`, called once with all
documents, and what it returns is asked every question alone. OUT gets `run.trec` and `figures.json`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

DEPTH = 10
PASSAGES = 50  # asked of a peer that ranks passages: enough for ten documents

Document = dict[str, Any]  # _id, title, text
Search = Callable[[str], Iterable[tuple[str, float]]]  # passages' document ids and scores, best first


def run(index: Callable[[list[Document], str], Search], configuration: dict[str, Any]) -> None:
    """Indexes, searches and writes both files. A document ranks where its best passage does."""
    corpus, queries, weights, out = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    documents, questions = _rows(corpus), _rows(queries)
    started = time.perf_counter()
    search = index(documents, weights)
    indexing = time.perf_counter() - started
    list(search(questions[0]["text"]))  # the first one warms up
    lines, times = [], []
    for question in questions:
        started = time.perf_counter()
        best: dict[str, float] = {}
        for name, score in search(question["text"]):
            best.setdefault(name, float(score))
        times.append(time.perf_counter() - started)
        ranked = sorted(best.items(), key=lambda item: -item[1])[:DEPTH]
        lines += [f"{question['_id']} Q0 {name} {rank} {score} peer\n" for rank, (name, score) in enumerate(ranked, 1)]
    times.sort()
    figures = {
        "index, s": indexing,
        "query p50, ms": 1000 * times[len(times) // 2],
        "query p95, ms": 1000 * times[min(len(times) - 1, int(0.95 * len(times)))],
        "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.trec").write_text("".join(lines), encoding="utf-8")
    (out / "figures.json").write_text(json.dumps({"figures": figures, "configuration": configuration}, indent=1))


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
