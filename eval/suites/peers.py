"""Other retrieval stacks beside ours, one command, one run: quality, time to index, time of a search, memory.

Every peer is a program of `eval/peers` in a process of its own, with the same documents, questions and embedder, each as
its own documentation sets it up. What this project does not depend on is installed into var/peers/NAME, once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import files
from core.errors import ConfigError
from core.paths import CORPUS, var_dir
from eval import golden, programs
from eval.metrics import ndcg, recall_at
from eval.suite import Bench, Case, Row, Suite, metric
from eval.suites.retrieval import beir
from rag.config import IndexSettings
from rag.documents import load_sources
from rag.embedding import weights_folder


@dataclass(frozen=True, slots=True)
class Peer:
    """What a peer needs: packages behind which stand this project's own, or an environment all its own from `python` on."""

    packages: tuple[str, ...] = ()
    python: tuple[int, int] | None = None


PEERS = {
    "ours": Peer(),
    "bm25": Peer(),
    "dense": Peer(),
    "llamaindex": Peer(("llama-index-core==0.14.25", "llama-index-embeddings-huggingface==0.8.0")),
    "langchain": Peer(("langchain-huggingface==1.2.3", "langchain-text-splitters==1.1.3")),
    "haiku": Peer(("haiku.rag-slim[docling]==0.101.1", "pydantic-ai-slim[sentence-transformers]<2.60"), python=(3, 12)),
}


def cases(bench: Bench) -> list[Case]:
    """One a peer, less those left out (`--skip`)."""
    return [{"id": name, "group": name} for name in programs.wanted(bench, PEERS, "peers")]


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """Runs a peer over the golden questions and our notes, or a BEIR folder given for `peers`."""
    asked, documents = _task(bench)
    weights = weights_folder(IndexSettings().dense.model)

    def run(case: Case) -> Row:
        with tempfile.TemporaryDirectory(prefix="genl-peer-") as place:
            folder = Path(place)
            _write(folder / "corpus.jsonl", documents)
            _write(folder / "queries.jsonl", [{"_id": c["id"], "text": c["question"]} for c in asked])
            arguments = [f"eval.peers.{case['id']}", str(folder / "corpus.jsonl"), str(folder / "queries.jsonl"),
                         str(weights), str(folder / "out")]  # fmt: skip
            offline = {"HF_HUB_OFFLINE": "1"}
            figures_file = folder / "out" / "figures.json"
            told = json.loads(programs.run(case["id"], arguments, figures_file, _python(case["id"]), offline))
            ranked = _ranked(folder / "out" / "run.trec")
        names = [(ranked.get(str(c["id"]), []), c["relevant"]) for c in asked]
        figures = {
            "nDCG@10": sum(ndcg(found, relevant) for found, relevant in names) / len(names),
            "R@1": sum(recall_at(found, relevant, 1) for found, relevant in names) / len(names),
            "R@5": sum(recall_at(found, relevant, 5) for found, relevant in names) / len(names),
            **told["figures"],
        }
        shown = {"question": case["id"], "configuration": told["configuration"], "figures": figures, "goals": {}}
        return {"scores": figures, "shown": shown}

    return run


def _task(bench: Bench) -> tuple[list[Case], list[dict[str, Any]]]:
    """Questions with `relevant`, and the documents as BEIR rows."""
    folder = bench.data.get("peers")
    if folder is not None:
        return beir(bench, folder), [row for _, row in files.read_jsonl(folder / "corpus.jsonl")]
    notes = load_sources([CORPUS])
    held = {d.doc_id: d for d in notes}
    asked: list[Case] = [
        {**case, "relevant": {doc_id: 1.0 for doc_id, _, _ in golden.located(case, held)}}
        for case in golden.questions(bench, answerable=True)
    ]
    return asked, [{"_id": d.doc_id, "title": d.title, "text": d.text} for d in notes]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _ranked(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        query, _, name, *_ = line.split()
        found.setdefault(query, []).append(name)
    return found


def _python(name: str) -> Path:
    """The interpreter of a peer; its environment is made on first use."""
    peer = PEERS[name]
    if not peer.packages:
        return Path(sys.executable)
    folder = var_dir() / "peers" / name
    python, mark = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(peer.packages)
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([_interpreter(name, peer), "-m", "venv", str(folder)], check=True)
    if peer.python is None:
        inside = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        # torch and sentence-transformers are ours: the same for all, and not downloaded again.
        (inside / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    ran = subprocess.run([str(python), "-m", "pip", "install", "-q", *peer.packages], capture_output=True, text=True)
    if ran.returncode:
        raise ConfigError(f"{name} could not be installed: {' '.join(ran.stderr.split())[-300:]}")
    mark.write_text(wanted, encoding="utf-8")
    return python


def _interpreter(name: str, peer: Peer) -> str:
    if peer.python is None or sys.version_info >= peer.python:
        return sys.executable
    major, minor = peer.python
    for later in range(minor, minor + 3):
        found = shutil.which(f"python{major}.{later}")
        # A shim may stand for a version that is not there.
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return found
    raise ConfigError(
        f"{name} needs Python {major}.{minor} or later: put one on PATH, or leave it out with --skip {name}"
    )


_FIGURES = ("nDCG@10", "R@1", "R@5")
_COSTS = {"index, s": "s", "query p50, ms": "ms", "query p95, ms": "ms", "peak memory, GiB": "GiB"}
SUITE = Suite(
    "peers",
    "Beside other retrieval stacks",
    "The same documents, questions and embedder; documents ranked by their best passage. The groups are the peers.",
    (
        *(metric(name, better="neither", headline=True) for name in _FIGURES),
        *(metric(name, better="neither", unit=unit) for name, unit in _COSTS.items()),
    ),
    cases,
    prepare,
    lambda _: dict.fromkeys(_FIGURES, 0.0),
    frozenset(),
    repeats=True,
)
