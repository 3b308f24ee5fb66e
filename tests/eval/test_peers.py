"""Peers and growth as programs of their own, on a few documents: the figures are those of what they ranked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import ConfigError
from eval import growth, running
from eval.suite import Bench
from eval.suites import growth as growth_suite
from eval.suites import peers
from tests.conftest import NOTES


def _beir(folder: Path) -> Path:
    folder.mkdir()
    rows = [{"_id": name, "title": "", "text": text} for name, text in NOTES.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": name, "text": text.splitlines()[0]}) + "\n" for name, text in NOTES.items())
    )
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{n}\t{n}\t1\n" for n in NOTES))
    return folder


def test_peers_of_our_own_environment(tmp_path: Path, toy_embedder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "weights_folder", lambda name: toy_embedder)
    skipped = [name for name, peer in peers.PEERS.items() if peer.packages]
    bench = Bench(tmp_path, None, data={"peers": _beir(tmp_path / "beir")}, options={"skip": skipped})
    found = running.run([peers.SUITE], bench, tmp_path / "out")["suites"]["peers"]
    assert found["run"] == 3 and found["errors"] == 0
    by_peer = {row["id"]: row["shown"] for row in map(json.loads, (tmp_path / "out/rows/peers.jsonl").open())}
    assert by_peer["bm25"]["figures"]["R@5"] == 1.0 and by_peer["ours"]["figures"]["R@5"] == 1.0
    for shown in by_peer.values():
        assert shown["figures"]["query p95, ms"] >= shown["figures"]["query p50, ms"] > 0 and shown["configuration"]
    with pytest.raises(ConfigError, match="the peers are ours, bm25"):
        peers.cases(Bench(tmp_path, None, options={"skip": ["lucene"]}))


def test_growth_is_measured_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth_suite, "QUICK", (300, 600))
    bench = Bench(tmp_path, None, quick=True, options={"skip": ["hnsw", "ivfpq"]})
    found = running.run([growth_suite.SUITE], bench, tmp_path / "out")["suites"]["growth"]
    assert found["errors"] == 0 and found["metrics"]["recall@10"]["value"] == 1.0  # a flat index is exact
    growth.plot(tmp_path / "out", tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000
