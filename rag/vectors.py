"""Where passage vectors are searched: FAISS in this process, or a Milvus server that holds what one machine cannot.

Two functions, `write` and `open_vectors`, and one thing that is opened: something with `search`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import IndexStateError
from rag.config import DenseSettings
from rag.embedding import Floats

Ids = NDArray[np.int64]
_FILE = "faiss.index"
_INSERTED = 2000  # rows a request to Milvus


class Vectors(Protocol):
    """Vectors that can be searched."""

    def search(self, vector: Floats, k: int) -> tuple[Ids, Floats]:
        """Ids and inner products of the (about) k nearest to `vector` [dim], best first."""
        ...


def write(folder: Path, vectors: Floats, ids: Ids, settings: DenseSettings) -> None:
    """Stores the vectors [n, dim] of a generation's folder under their ids. Raises IndexStateError."""
    if settings.index == "milvus":
        _fill(folder, vectors, ids, settings)
    else:
        import faiss

        faiss.write_index(faiss_index(vectors, ids, settings), str(folder / _FILE))


def open_vectors(folder: Path, settings: DenseSettings) -> Vectors:
    """What `write` stored for that folder. Raises IndexStateError."""
    if settings.index == "milvus":
        return Milvus(folder, settings)
    import faiss

    index: Any = faiss.read_index(str(folder / _FILE))
    inner: Any = faiss.downcast_index(index.index)
    if settings.index == "hnsw":
        inner.hnsw.efSearch = settings.hnsw_ef_search
    elif hasattr(inner, "nprobe"):
        inner.nprobe = settings.ivf_probes
    if getattr(faiss, "get_num_gpus", lambda: 0)() > 0 and settings.index != "hnsw":  # HNSW has no GPU form
        index = faiss.index_cpu_to_all_gpus(index)
    return Faiss(index)


def forget(folder: Path, settings: DenseSettings, keep: Collection[str] = ()) -> None:
    """Drops what generations other than this folder's and those to `keep` left at a server; files go with their folders."""
    if settings.index == "milvus":
        kept = {_collection(folder), *(_prefix(folder) + name for name in keep)}
        with _milvus(settings) as client:
            for name in client.list_collections():
                if name.startswith(_prefix(folder)) and name not in kept:
                    client.drop_collection(name)


class Faiss:
    """An index in this process."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def search(self, vector: Floats, k: int) -> tuple[Ids, Floats]:
        """As `Vectors.search`."""
        import faiss

        # One query gives FAISS nothing to share out, and a second thread pool beside torch's costs 20 ms of waiting.
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            found, ids = self.index.search(vector[None, :], k)
        finally:
            faiss.omp_set_num_threads(threads)
        kept = ids[0] >= 0
        return ids[0][kept], found[0][kept]


class Milvus:
    """A collection of a server, or of a file through milvus-lite. The connection stays open between searches."""

    def __init__(self, folder: Path, settings: DenseSettings) -> None:
        self._name, self._settings = _collection(folder), settings
        with _said(settings):
            self._client = _client(settings)
            if not self._client.has_collection(self._name):
                raise IndexStateError(
                    f"{settings.uri}: lacks the collection {self._name} of {folder.parent.parent}. Build the index again"
                )
            self._client.load_collection(self._name)

    def search(self, vector: Floats, k: int) -> tuple[Ids, Floats]:
        """As `Vectors.search`."""
        with _said(self._settings):
            (hits,) = self._client.search(self._name, [vector.tolist()], limit=k, search_params={"metric_type": "IP"})
        return (
            np.array([hit["id"] for hit in hits], np.int64),
            np.array([hit["distance"] for hit in hits], np.float32),
        )


def faiss_index(vectors: Floats, ids: Ids, settings: DenseSettings) -> Any:
    """Inner-product index of the configured kind, addressed by `ids`.

    IVF-PQ trains on the vectors themselves and needs some to train on: below 10,000 it would only lose recall, so
    a flat index stands in and says so.
    """
    import faiss

    dim, kind = vectors.shape[1], settings.index
    if kind == "ivfpq" and len(vectors) < 10_000:
        logging.getLogger(__name__).warning("%d vectors are too few for ivfpq: a flat index is used", len(vectors))
        kind = "flat"
    inner: Any
    if kind == "hnsw":
        inner = faiss.IndexHNSWFlat(dim, settings.hnsw_m, faiss.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction = 200
    elif kind == "ivfpq":
        cells = 1 << max(8, int(np.log2(4 * np.sqrt(len(vectors)))))
        inner = faiss.index_factory(dim, f"IVF{cells},PQ{dim // 4}", faiss.METRIC_INNER_PRODUCT)
        inner.train(vectors)
    else:
        inner = faiss.IndexFlatIP(dim)
    index = faiss.IndexIDMap2(inner)
    index.add_with_ids(vectors, ids)
    return index


def _fill(folder: Path, vectors: Floats, ids: Ids, settings: DenseSettings) -> None:
    name = _collection(folder)
    with _milvus(settings) as client:
        if client.has_collection(name):
            client.drop_collection(name)  # left by a build that was killed
        client.create_collection(name, dimension=vectors.shape[1], metric_type="IP", consistency_level="Strong")
        for at in range(0, len(ids), _INSERTED):
            part = slice(at, at + _INSERTED)
            rows = zip(ids[part].tolist(), vectors[part].tolist(), strict=True)
            client.insert(name, [{"id": number, "vector": vector} for number, vector in rows])


def _client(settings: DenseSettings) -> Any:
    from pymilvus import MilvusClient

    return MilvusClient(settings.uri, timeout=30)


@contextmanager
def _milvus(settings: DenseSettings) -> Iterator[Any]:
    """A client for a while."""
    with _said(settings):
        client = _client(settings)
        try:
            yield client
        finally:
            client.close()


@contextmanager
def _said(settings: DenseSettings) -> Iterator[None]:
    """IndexStateError where the package or the address is missing, or the server does not answer."""
    try:
        from pymilvus.exceptions import MilvusException
    except ImportError:
        raise IndexStateError("dense.index=milvus needs pymilvus: pip install 'pymilvus[milvus-lite]'") from None
    if not settings.uri:
        raise IndexStateError("dense.index=milvus needs dense.uri: http://HOST:19530, or a file for milvus-lite")
    try:
        yield
    except MilvusException as error:
        raise IndexStateError(f"{settings.uri}: Milvus: {' '.join(str(error.message).split())}") from error


def _prefix(folder: Path) -> str:
    """One index's collections begin alike: two indexes may share a server."""
    return "genl_" + hashlib.sha256(str(folder.parent.resolve()).encode()).hexdigest()[:12] + "_"


def _collection(folder: Path) -> str:
    return _prefix(folder) + folder.name.removesuffix(".tmp")
