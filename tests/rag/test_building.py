"""Builds are incremental, atomic and forgetful: on real FAISS, with a toy embedder through the production loader."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from core.errors import DocumentError, IndexStateError
from rag.building import build
from rag.chunking import contextual_text
from rag.config import DenseSettings, IndexSettings
from rag.embedding import Embedder
from rag.index import Index, open_index, stable_ids
from rag.retriever import Retriever


@pytest.fixture
def settings(toy_embedder: Path) -> IndexSettings:
    return IndexSettings(dense=DenseSettings(model=str(toy_embedder)))


def test_nothing_changed_embeds_nothing(notes: Path, tmp_path: Path, settings: IndexSettings) -> None:
    first = build([notes], tmp_path / "ix", settings, progress=False)
    assert first.embedded == first.chunks == 5
    before = (tmp_path / "ix" / "manifest.json").stat().st_mtime_ns
    second = build([notes], tmp_path / "ix", settings, progress=False)
    assert (second.embedded, second.reused, second.changed) == (0, 5, False)
    assert (tmp_path / "ix" / "manifest.json").stat().st_mtime_ns == before


def test_a_changed_file_embeds_only_its_changed_chunks(notes: Path, tmp_path: Path, settings: IndexSettings) -> None:
    build([notes], tmp_path / "ix", settings, progress=False)
    path = notes / "lora.md"
    path.write_text(path.read_text().replace("costs nothing extra", "has no added latency"))
    report = build([notes], tmp_path / "ix", settings, progress=False)
    assert (report.embedded, report.reused, report.removed) == (1, 4, 1)
    index = open_index(tmp_path / "ix")
    # The reused vectors are those a fresh build would compute.
    fresh, _ = Embedder(Path(settings.dense.model), "toy").encode([contextual_text(c) for c in index.chunks])
    assert np.allclose(index.vectors, fresh, atol=1e-5)


def test_a_deleted_document_leaves_no_trace(notes: Path, tmp_path: Path, settings: IndexSettings) -> None:
    build([notes], tmp_path / "ix", settings, progress=False)
    (notes / "ethics" / "bias.md").unlink()
    report = build([notes], tmp_path / "ix", settings, progress=False)
    assert (report.documents, report.embedded, report.removed) == (2, 0, 1)
    for path in (tmp_path / "ix").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"bias.md" not in content and b"Reweighing" not in content and b"reweigh" not in content, path


def test_a_failed_build_leaves_the_old_index_serving(notes: Path, tmp_path: Path, settings: IndexSettings) -> None:
    build([notes], tmp_path / "ix", settings, progress=False)
    (notes / "broken.pdf").write_bytes(b"no pdf")
    with pytest.raises(DocumentError, match=r"broken\.pdf"):
        build([notes], tmp_path / "ix", settings, progress=False)
    assert Retriever.open(tmp_path / "ix").search("merging adapters").hits
    skipped: list[str] = []
    report = build([notes], tmp_path / "ix", settings, progress=False, skip_broken=skipped.append)
    assert report.documents == 3 and len(skipped) == 1


def test_a_killed_build_goes_on_where_it_was(notes: Path, tmp_path: Path, settings: IndexSettings) -> None:
    for n in range(60):
        (notes / f"n{n}.md").write_text(f"# Note {n}\n\nTriton serves model {n}.\n")
    code = (
        "import sys, pathlib, rag.building as b\n"
        "from rag.config import IndexSettings\n"
        "b.SHARD = 4\n"
        "b.build([pathlib.Path(sys.argv[1])], pathlib.Path(sys.argv[2]), IndexSettings.model_validate_json(sys.argv[3]))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, notes, tmp_path / "ix", settings.model_dump_json()])
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "ix" / "partial").glob("*.npz"))) < 2:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with pytest.raises(IndexStateError, match="no index there"):
        open_index(tmp_path / "ix")
    report = build([notes], tmp_path / "ix", settings, progress=False)
    assert report.chunks == 65
    assert 0 < report.embedded <= 65 - 8
    assert not (tmp_path / "ix" / "partial").exists()


def test_another_embedder_is_refused_with_the_command_that_mends_it(
    notes: Path, tmp_path: Path, toy_embedder: Path
) -> None:
    copy = tmp_path / "embedder"
    shutil.copytree(toy_embedder, copy)
    settings = IndexSettings(dense=DenseSettings(model=str(copy)))
    build([notes], tmp_path / "ix", settings, progress=False)
    weights = next(copy.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(IndexStateError, match=rf"python -m rag build --source {notes} --index {tmp_path / 'ix'}"):
        Retriever.open(tmp_path / "ix")


def test_damaged_and_foreign_indexes_are_refused(notes: Path, tmp_path: Path, settings: IndexSettings) -> None:
    index_dir = tmp_path / "ix"
    build([notes], index_dir, settings, progress=False)
    vectors = next(index_dir.rglob("vectors.npy"))
    whole = vectors.read_bytes()
    vectors.write_bytes(whole[:-10])
    with pytest.raises(IndexStateError, match="bytes where"):
        open_index(index_dir)
    vectors.write_bytes(whole)
    manifest = json.loads((index_dir / "manifest.json").read_text())
    (index_dir / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(IndexStateError, match="index format 99"):
        open_index(index_dir)
    with pytest.raises(IndexStateError, match="chunking cannot change after a build"):
        (index_dir / "manifest.json").write_text(json.dumps(manifest))
        Retriever.open(index_dir, {"chunking": {"chunk_chars": 300}})


def test_one_builder_at_a_time(notes: Path, tmp_path: Path, settings: IndexSettings) -> None:
    import fcntl

    (tmp_path / "ix").mkdir()
    with (tmp_path / "ix" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(IndexStateError, match="another build is running"):
            build([notes], tmp_path / "ix", settings, progress=False)


def _built(notes: Path, folder: Path, embedder: Path, kind: str) -> tuple[IndexSettings, Index]:
    """The notes' index with vectors of this kind, opened."""
    dense = {"model": str(embedder), "index": kind, "uri": str(folder / "milvus.db")}
    settings = IndexSettings.model_validate({"dense": dense})
    build([notes], folder / "ix", settings, progress=False)
    return settings, open_index(folder / "ix")


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq", "milvus"])
def test_every_index_kind_finds_every_chunk_under_its_stable_id(
    notes: Path, tmp_path: Path, toy_embedder: Path, kind: str
) -> None:
    _, index = _built(notes, tmp_path, toy_embedder, kind)
    for vector in np.asarray(index.vectors):
        ids, scores = index.nearest.search(vector, 5)
        assert scores[0] == pytest.approx(1.0, abs=1e-5) and (np.diff(scores) <= 1e-6).all()
        assert set(ids.tolist()) == set(stable_ids(index.chunks).tolist())


@pytest.mark.parametrize("kind", ["flat", "milvus"])
def test_an_open_index_is_searched_on_while_the_next_one_serves(
    notes: Path, tmp_path: Path, toy_embedder: Path, kind: str
) -> None:
    settings, index = _built(notes, tmp_path, toy_embedder, kind)
    vector = np.asarray(index.vectors)[0]
    before, _ = index.nearest.search(vector, 5)
    (notes / "later.md").write_text("# Later\n\nA note that was not there before.\n")
    build([notes], tmp_path / "ix", settings, progress=False)
    assert (index.nearest.search(vector, 5)[0] == before).all()
    assert len(open_index(tmp_path / "ix").chunks) > len(index.chunks)
    if kind == "milvus":
        from pymilvus import MilvusClient

        (notes / "later.md").write_text("# Later\n\nAnd changed since, so the first collection goes.\n")
        build([notes], tmp_path / "ix", settings, progress=False)
        client = MilvusClient(settings.dense.uri)
        assert len(client.list_collections()) == 2
        client.close()


def test_ivfpq_is_real_at_the_size_that_wants_it(toy_embedder: Path) -> None:
    import faiss

    from rag.config import DenseSettings
    from rag.vectors import faiss_index

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, 32))
    vectors = (centres[rng.integers(200, size=12_000)] + 0.1 * rng.normal(size=(12_000, 32))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss_index(vectors, np.arange(12_000), DenseSettings(index="ivfpq"))
    faiss.downcast_index(index.index).nprobe = 32
    _, found = index.search(vectors[:50], 50)
    hits = sum(i in found[i] for i in range(50))
    assert hits >= 40
