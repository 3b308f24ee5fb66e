"""The one door to retrieval: question in, ranked chunks or documents out, with every stage's ranking and time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from core.config import parse
from core.errors import IndexStateError
from core.types import Document, Hit
from rag.building import index_in_memory, open_embedder
from rag.config import IndexSettings
from rag.embedding import Embedder, Floats
from rag.fusion import document_scores, normalise, top, weighted_sum
from rag.index import Index, open_index, stable_ids
from rag.reranking import Reranker, open_reranker

Stage = Literal["dense", "bm25", "fused", "reranked"]
By = Literal["chunk", "document"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, slots=True)
class Search:
    """The asked-for ranking in `hits`; in `stages` the ranking of each stage that ran, in `timings_ms` its time."""

    query: str
    hits: tuple[Hit, ...]
    stages: Mapping[str, tuple[Hit, ...]]
    timings_ms: Mapping[str, float]


class Retriever:
    """Searches one open index. Holds no state between questions; safe to share between threads."""

    def __init__(self, index: Index, embedder: Embedder, reranker: Reranker | None) -> None:
        self.index, self.embedder, self.reranker = index, embedder, reranker
        self._documents = {d.doc_id: d for d in index.documents}
        self._position = {int(i): n for n, i in enumerate(stable_ids(index.chunks))}
        row = {d.doc_id: n for n, d in enumerate(index.documents)}
        self._document_row = np.array([row[c.doc_id] for c in index.chunks], np.int64)

    @staticmethod
    def open(index_dir: Path, settings: Mapping[str, object] | None = None) -> Retriever:
        """Opens an index; `settings` replaces query-time sections (`fusion`, `reranking`) of those it was built with.

        Raises IndexStateError when it is missing, damaged, or was built by another embedder than the weights here.
        """
        index = open_index(index_dir)
        if settings:
            index = _with_settings(index, index_dir, settings)
        embedder = open_embedder(index.settings)
        if embedder.fingerprint != index.manifest.embedder:
            raise IndexStateError(
                f"{index_dir}: built with embedder {index.manifest.embedder}, but the weights here are "
                f"{embedder.fingerprint}. Run: {index.manifest.mend} {index_dir}"
            )
        return Retriever(index, embedder, open_reranker(index, embedder))

    @staticmethod
    def over(documents: Sequence[Document], settings: IndexSettings, embedder: Embedder | None = None) -> Retriever:
        """A retriever over a few documents, indexed in memory with the same settings and stages."""
        index, embedder = index_in_memory(documents, settings, embedder)
        return Retriever(index, embedder, open_reranker(index, embedder))

    def documents(self) -> Mapping[str, Document]:
        """All documents by id, in index order."""
        return self._documents

    def document(self, doc_id: str) -> Document:
        """One document; IndexStateError when the index does not hold it."""
        try:
            return self._documents[doc_id]
        except KeyError:
            raise IndexStateError(f"document {doc_id!r} is not in the index") from None

    def search(self, query: str, k: int = 6, by: By = "chunk", stage: Stage = "reranked") -> Search:
        """The best `k` chunks or documents after `stage`. An empty query finds nothing."""
        clock = _Clock()
        if not query.strip() or not self.index.chunks:
            return Search(query, (), {}, {})
        pool = max(self.index.settings.fusion.candidates, k)
        scores: dict[str, Floats] = {}
        stages: dict[str, tuple[Hit, ...]] = {}
        with clock("embed"):
            vector, query_tokens = self.embedder.encode_query(query)
        with clock("dense"):
            dense_at, dense_scores = self._dense(vector, pool)
            stages["dense"] = self._hits("dense", dense_at, dense_scores, k, by)
        with clock("bm25"):
            bm25 = self.index.bm25.scores(query)
            bm25_at = top(bm25, pool)
            bm25_at = bm25_at[bm25[bm25_at] > 0]
            stages["bm25"] = self._hits("bm25", bm25_at, bm25[bm25_at], k, by)
        if stage in ("fused", "reranked"):
            with clock("fusion"):
                at = np.union1d(dense_at, bm25_at).astype(np.int64)
                by_document = normalise(self.index.bm25_document.scores(query))[self._document_row[at]]
                scores = {
                    "dense": np.asarray(self.index.vectors[at] @ vector, np.float32),
                    "bm25": normalise(bm25)[at],
                    "bm25_document": by_document,
                }
                fused = weighted_sum(scores, self.index.settings.fusion.model_dump())
                order = top(fused, len(fused))
                at, fused = at[order], fused[order]
                scores = {name: values[order] for name, values in scores.items()}
                stages["fused"] = self._hits("fused", at, fused, k, by, scores)
        if stage == "reranked":
            with clock("rerank"):
                at, final, scores = self._rerank(query, query_tokens, at, fused, scores)
                stages["reranked"] = self._hits("reranked", at, final, k, by, scores)
        return Search(query, stages[stage], stages, clock.timings_ms)

    def _dense(self, vector: Floats, pool: int) -> tuple[NDArray[np.int64], Floats]:
        ids, found = self.index.nearest.search(vector, min(pool, len(self.index.chunks)))
        return np.array([self._position[int(i)] for i in ids], np.int64), found

    def _rerank(
        self, query: str, query_tokens: Floats, at: NDArray[np.int64], fused: Floats, scores: Mapping[str, Floats]
    ) -> tuple[NDArray[np.int64], Floats, dict[str, Floats]]:
        """The first candidates in their new order, then the rest as fusion left them."""
        if self.reranker is None:
            return at, fused, dict(scores)
        settings = self.index.settings.reranking
        n = min(settings.candidates, len(at))
        again = self.reranker.scores(query, query_tokens, at[:n])
        final = fused.copy()
        final[:n] = fused[:n] + settings.weight * again
        # What was not read again stays below what was, whatever weight the reranker has.
        final[n:] = (
            np.minimum(fused[n:], fused[n - 1] if n else np.inf)
            + (settings.weight * float(again.min()) if n else 0.0)
            - 1e-3
        )
        order = np.argsort(-final, kind="stable")
        shown = dict(scores) | {"reranker": np.concatenate([again, np.full(len(at) - n, np.nan, np.float32)])}
        return at[order], final[order], {name: values[order] for name, values in shown.items()}

    def _hits(
        self,
        stage: Stage,
        at: NDArray[np.int64],
        scores: Floats,
        k: int,
        by: By,
        parts: Mapping[str, Floats] | None = None,
    ) -> tuple[Hit, ...]:
        ranked = [(float(s), n) for n, s in enumerate(scores)]
        if by == "document":
            fusion = self.index.settings.fusion
            ids = [self.index.chunks[int(i)].doc_id for i in at]
            share = fusion.best_of_share if stage != "dense" else 0.0
            ranked = list(document_scores(ids, [float(s) for s in scores], fusion.best_of, share).values())
        return tuple(
            Hit(
                self.index.chunks[int(at[n])],
                score,
                rank,
                stage,
                {name: float(values[n]) for name, values in (parts or {}).items() if not np.isnan(values[n])},
            )
            for rank, (score, n) in enumerate(ranked[:k], 1)
        )


class _Clock:
    """Milliseconds by name: `with clock("dense"): …`."""

    def __init__(self) -> None:
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.timings_ms[name] = (time.perf_counter() - start) * 1000


def _with_settings(index: Index, index_dir: Path, settings: Mapping[str, object]) -> Index:
    from dataclasses import replace

    fixed = set(settings) - {"fusion", "reranking"}
    if fixed:
        raise IndexStateError(
            f"{index_dir}: {', '.join(sorted(fixed))} cannot change after a build. "
            f"Run: {index.manifest.mend} {index_dir} with the new settings"
        )
    merged = index.settings.model_dump()
    for section, values in settings.items():
        merged[section] = merged[section] | values
    return replace(index, settings=parse(IndexSettings, merged, where=str(index_dir)))
