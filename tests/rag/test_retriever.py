"""Search by stage, by chunk and by document; both rerankers; TREC runs; quality on real lessons where they are at hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from core.config import parse
from core.errors import ConfigError, DocumentError
from rag.building import build
from rag.config import IndexSettings
from rag.retriever import STAGES, Retriever
from rag.runs import read_queries, write_run
from tests import tiny
from tests.conftest import NOTES


@pytest.fixture
def index_dir(notes: Path, tmp_path: Path, toy_embedder: Path) -> Path:
    settings = IndexSettings.model_validate({"dense": {"model": str(toy_embedder)}})
    build([notes], tmp_path / "ix", settings, progress=False)
    return tmp_path / "ix"


def test_every_stage_is_ranked_timed_and_within_bounds(index_dir: Path) -> None:
    search = Retriever.open(index_dir).search("Which port does gRPC use in Triton?", k=3)
    assert tuple(search.stages) == STAGES
    for hits in search.stages.values():
        assert [h.rank for h in hits] == list(range(1, len(hits) + 1))
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert search.stages["bm25"][0].chunk.doc_id == "triton.md"
    assert set(search.hits[0].scores) == {"dense", "bm25", "bm25_document", "reranker"}
    assert set(search.timings_ms) == {"embed", "dense", "bm25", "fusion", "rerank"}


def test_by_document_names_each_document_once(index_dir: Path) -> None:
    retriever = Retriever.open(index_dir)
    for stage in STAGES:
        found = [h.chunk.doc_id for h in retriever.search("adapter batching bias", 10, "document", stage).hits]
        assert len(found) == len(set(found)) > 0


@pytest.mark.parametrize("query", ["", "   ", "?!…", "zzzz qqqq", "a" * 20_000, "\x00\ud800x"])
def test_odd_queries_are_survived(index_dir: Path, query: str) -> None:
    retriever = Retriever.open(index_dir)
    query = query.encode("utf-8", "replace").decode()
    for hit in retriever.search(query).hits:
        assert math.isfinite(hit.score)


def test_stored_and_recomputed_token_vectors_rank_alike(notes: Path, tmp_path: Path, toy_embedder: Path) -> None:
    rankings = []
    for stored in (True, False):
        settings = IndexSettings.model_validate({"dense": {"model": str(toy_embedder), "token_vectors": stored}})
        build([notes], tmp_path / str(stored), settings, progress=False)
        hits = Retriever.open(tmp_path / str(stored)).search("merging a LoRA adapter").hits
        rankings.append({h.chunk.chunk_id: h.scores["reranker"] for h in hits})
    assert rankings[0] == pytest.approx(rankings[1], abs=0.02)


def test_a_cross_encoder_reranks_through_the_same_door(index_dir: Path, tmp_path: Path) -> None:
    folder = tiny.cross_encoder(tmp_path / "ce", NOTES.values())
    retriever = Retriever.open(
        index_dir, {"reranking": {"kind": "cross-encoder", "model": str(folder), "weight": 100.0}}
    )
    search = retriever.search("Which port does gRPC use?", k=5)
    given = [h.scores["reranker"] for h in search.hits]
    assert all(0 <= s <= 1 for s in given) and len(set(given)) > 1
    assert given == sorted(given, reverse=True)  # at this weight nothing else counts


def test_trec_run_file(index_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"_id": "q 1", "text": "Triton port"}\n{"_id": "q2", "text": "LoRA rank"}\n')
    write_run(
        Retriever.open(index_dir), read_queries(tmp_path / "q.jsonl"), 2, "document", "fused", tmp_path / "r.trec"
    )
    rows = [line.split(" ") for line in (tmp_path / "r.trec").read_text().splitlines()]
    assert [r[0] for r in rows] == ["q%201", "q%201", "q2", "q2"]
    assert all(len(r) == 6 and r[1] == "Q0" and r[5] == "genl-fused" for r in rows)
    assert rows[0][2] == "triton.md" and rows[2][2] == "lora.md"


def test_bad_queries_and_settings_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"_id": "1", "text": "a"}\n{"_id": "1", "text": "b"}\n')
    with pytest.raises(DocumentError, match=r"q\.jsonl:2: query id '1' appears twice"):
        read_queries(tmp_path / "q.jsonl")
    with pytest.raises(ConfigError, match=r"unknown key fusion\.dens, did you mean dense\?"):
        parse(IndexSettings, {"fusion": {"dens": 1}}, where="x")


def test_each_stage_earns_its_place_on_real_lessons(datasets: Path, tmp_path: Path) -> None:
    """The first 20 lessons and their questions, with MiniLM: fusion beats BM25, reranking is no worse than fusion."""
    lessons = (datasets / "ai-engineering" / "corpus.jsonl").read_text().splitlines()[:20]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lessons) + "\n")
    ids = {json.loads(line)["_id"] for line in lessons}
    rows = [json.loads(x) for x in (datasets / "ai-engineering" / "queries.dev.jsonl").read_text().splitlines()]
    rows = [r for r in rows if r["doc_id"] in ids]
    build([tmp_path / "corpus.jsonl"], tmp_path / "ix", progress=False)
    retriever = Retriever.open(tmp_path / "ix")
    ndcg = dict.fromkeys(STAGES, 0.0)
    for row in rows:
        for stage, hits in retriever.search(row["text"], 10, "document").stages.items():
            rank = next((h.rank for h in hits if h.chunk.doc_id == row["doc_id"]), None)
            ndcg[stage] += 1 / math.log2(rank + 1) / len(rows) if rank else 0.0  # type: ignore[index]
    assert len(rows) > 40
    assert ndcg["fused"] > ndcg["bm25"] > 0.85
    assert ndcg["reranked"] >= ndcg["fused"] - 0.01
