"""How indexes grow: `python -m eval.growth KIND N FILE` measures one, `python -m eval.growth --plot RUN PNG` draws a run.

Vectors are synthetic, drawn around 4,096 centres so that neighbours exist, as they do for texts; documents for BM25 are
words by Zipf's law. What is measured does not depend on meaning.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core import files
from core.cli import Parser, run
from eval.compare import rows
from finetune import memory
from rag.config import DenseSettings, LexicalSettings
from rag.embedding import Floats

DIMENSIONS, CENTRES, QUERIES, K = 384, 4096, 200, 10
WORDS, LENGTH = 50_000, 120  # of the vocabulary, and in a passage
DENSE = ("flat", "hnsw", "ivfpq")
KINDS = (*DENSE, "bm25")


def measure(kind: str, size: int) -> dict[str, float]:
    """Seconds to build and open, GiB on disk and at the peak of building, milliseconds a search, recall@10 against the exact neighbours."""
    with tempfile.TemporaryDirectory(prefix="genl-growth-") as place:
        return _bm25(size, Path(place)) if kind == "bm25" else _dense(kind, size, Path(place))


def _dense(kind: str, size: int, folder: Path) -> dict[str, float]:
    from rag.vectors import open_vectors, write

    settings = DenseSettings.model_validate({"index": kind})
    vectors, queries = _vectors(size)
    exact = [set(np.argpartition(vectors @ -query, K)[:K].tolist()) for query in queries]
    memory.lap()
    started = time.perf_counter()
    write(folder, vectors, np.arange(size), settings)
    built = time.perf_counter() - started
    highest = memory.lap()
    del vectors
    started = time.perf_counter()
    opened = open_vectors(folder, settings)
    opening = time.perf_counter() - started
    found: list[set[int]] = []

    def search(n: int) -> None:
        found.append(set(opened.search(queries[n], K)[0].tolist()))

    times = _times(search)
    recall = float(np.mean([len(mine & right) / K for mine, right in zip(found[1:], exact, strict=True)]))
    return {
        "build, s": built, "open, s": opening, "on disk, GiB": _size(folder), "peak memory of building, GiB": highest / 2**30,
        **times, "recall@10": recall,
    }  # fmt: skip


def _bm25(size: int, folder: Path) -> dict[str, float]:
    from rag.lexical import Lexical

    draw = np.random.default_rng(0)
    words = np.array([f"w{n}" for n in range(WORDS)])
    numbers = np.minimum(draw.zipf(1.2, size=(size, LENGTH)), WORDS) - 1
    texts = [" ".join(words[line]) for line in numbers]
    asked = [" ".join(words[line[:8]]) for line in numbers[:: max(1, size // QUERIES)][:QUERIES]]
    started = time.perf_counter()
    lexical = Lexical.build(texts, LexicalSettings())
    lexical.save(folder / "bm25")
    built = time.perf_counter() - started
    highest = memory.lap()
    del lexical, texts
    started = time.perf_counter()
    opened = Lexical.load(folder / "bm25", LexicalSettings())
    opening = time.perf_counter() - started
    times = _times(lambda n: opened.scores(asked[n]))
    return {
        "build, s": built, "open, s": opening, "on disk, GiB": _size(folder), "peak memory of building, GiB": highest / 2**30,
        **times,
    }  # fmt: skip


def _vectors(size: int) -> tuple[Floats, Floats]:
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((CENTRES, DIMENSIONS), dtype=np.float32)

    def around(count: int) -> Floats:
        made = centres[draw.integers(CENTRES, size=count)]
        made += 0.7 * draw.standard_normal((count, DIMENSIONS), dtype=np.float32)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        return made

    return around(size), around(QUERIES)


def _times(search: Callable[[int], Any]) -> dict[str, float]:
    search(0)
    taken = []
    for n in range(QUERIES):
        started = time.perf_counter()
        search(n)
        taken.append(1000 * (time.perf_counter() - started))
    taken.sort()
    return {"search p50, ms": taken[QUERIES // 2], "search p95, ms": taken[int(0.95 * QUERIES)]}


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**30


def plot(run: Path, out: Path) -> None:
    """Four panels over the number of chunks: build time, memory, search time and recall of each kind."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = ("build, s", "peak memory of building, GiB", "search p95, ms", "recall@10")
    figure, axes = pyplot.subplots(1, len(panels), figsize=(16, 3.6), constrained_layout=True)
    measured = [(row["shown"]["kind"], row["shown"]["chunks"], row["shown"]["figures"]) for row in rows(run, "growth")]
    for axis, name in zip(axes, panels, strict=True):
        for kind in KINDS:
            points = sorted((n, found[name]) for k, n, found in measured if k == kind and name in found)
            if points:
                axis.plot(*zip(*points, strict=True), marker="o", label=kind)
        axis.set(title=name, xlabel="chunks", xscale="log")
        if name != "recall@10":
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(out, dpi=110)


def main() -> None:
    """Measures one kind at one size, or draws."""
    parser = Parser(prog="python -m eval.growth", description=__doc__)
    parser.add_argument("kind", choices=KINDS, nargs="?")
    parser.add_argument("size", type=int, nargs="?")
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--plot", type=Path, nargs=2, metavar=("RUN", "PNG"), help="draw a run's figures")
    args = parser.parse_args()
    if args.plot:
        plot(*args.plot)
    elif args.file is None:
        parser.error("give KIND N FILE, or --plot RUN PNG")
    else:
        files.write(args.file, json.dumps(measure(args.kind, args.size), indent=1))


if __name__ == "__main__":
    run(main)
