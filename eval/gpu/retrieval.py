"""Embedding and searching on the device: passages a second, FAISS on the GPU against the CPU, one search's time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from core.paths import CORPUS
from rag.building import open_embedder
from rag.chunking import chunk_document
from rag.config import ChunkSettings, IndexSettings
from rag.documents import load_sources

DIMENSIONS, VECTORS, TOY = 384, 1_000_000, 20_000


def measure(toy: bool) -> dict[str, float]:
    """Passages/s by our embedder, and milliseconds a query over random vectors by each FAISS index."""
    import faiss

    embedder = open_embedder(IndexSettings())
    texts = [chunk.text for doc in load_sources([CORPUS]) for chunk in chunk_document(doc, ChunkSettings())]
    texts = texts[:64] if toy else texts
    embedder.encode(texts[:16], tokens=False)
    started = time.perf_counter()
    embedder.encode(texts, tokens=False)
    found = {"embedding, passages/s": len(texts) / (time.perf_counter() - started)}
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((TOY if toy else VECTORS, DIMENSIONS), dtype=np.float32)
    queries = draw.standard_normal((64, DIMENSIONS), dtype=np.float32)
    flat = faiss.IndexFlatIP(DIMENSIONS)
    flat.add(vectors)
    found["FAISS flat on the CPU, ms a query"] = _ms(lambda: flat.search(queries, 10), len(queries))
    found["FAISS flat on the CPU, ms for one"] = _ms(lambda: flat.search(queries[:1], 10), 1)
    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus():
        moved = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, flat)
        found["FAISS flat on the GPU, ms a query"] = _ms(lambda: moved.search(queries, 10), len(queries))
        found["FAISS flat on the GPU, ms for one"] = _ms(lambda: moved.search(queries[:1], 10), 1)
        found["FAISS, CPU ÷ GPU"] = (
            found["FAISS flat on the CPU, ms a query"] / found["FAISS flat on the GPU, ms a query"]
        )
        same = (flat.search(queries, 10)[1] == moved.search(queries, 10)[1]).mean()
        found["FAISS, neighbours alike"] = float(same)
    return found


def _ms(work: Callable[[], Any], queries: int, rounds: int = 5) -> float:
    """The middle of several rounds, in milliseconds a query."""
    work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1000 * sorted(times)[rounds // 2] / queries
