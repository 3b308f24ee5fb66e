"""Sources to index, incrementally: only chunks whose text was never embedded go through the model."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import DocumentError, IndexStateError
from core.paths import ROOT
from core.types import Chunk, Document
from rag.chunking import chunk_document, contextual_text
from rag.config import IndexSettings
from rag.documents import load_sources
from rag.embedding import Embedder, Floats, Rows, pack, weights_folder
from rag.index import FORMAT, Index, Manifest, open_index, stable_ids, write_generation
from rag.lexical import Lexical
from rag.vectors import Faiss, faiss_index

SHARD = 1024  # chunks embedded between two saves: what a killed build can lose

Known = dict[str, tuple[Floats, Rows | None]]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did, in documents and chunks; `changed` is False when the index already was as asked."""

    documents: int
    chunks: int
    embedded: int
    reused: int
    removed: int
    changed: bool


def build(
    sources: Sequence[Path],
    index_dir: Path,
    settings: IndexSettings | None = None,
    progress: bool = True,
    skip_broken: Callable[[str], None] | None = None,
) -> BuildReport:
    """Makes or updates the index of exactly the documents under `sources`; documents gone from there are forgotten.

    The old index serves until the new one is whole. Raises DocumentError, IndexStateError, WeightsError.
    """
    settings = settings or IndexSettings()
    with _only_builder(index_dir):
        documents = load_sources(sources, skip_broken)
        if not documents:
            raise DocumentError(
                f"{', '.join(map(str, sources))}: no documents found. Give --source a folder with notes"
            )
        chunks = [chunk for doc in documents for chunk in chunk_document(doc, settings.chunking)]
        if not chunks:
            raise DocumentError(f"{', '.join(map(str, sources))}: no text found in {len(documents)} documents")
        embedder = open_embedder(settings)
        old = _old_index(index_dir, embedder, settings)
        generation = _generation(documents, chunks, settings, embedder)
        gone = len({c.chunk_id for c in old.chunks} - {c.chunk_id for c in chunks}) if old else 0
        if old and old.manifest.generation == generation:
            return BuildReport(len(documents), len(chunks), 0, len(chunks), 0, False)
        known = _known(old) | _partial(index_dir / "partial", embedder, settings)
        fresh = [c for c in chunks if c.chunk_id not in known]
        known |= _embed(fresh, embedder, settings, index_dir / "partial", progress)
        vectors = np.stack([known[c.chunk_id][0] for c in chunks])
        tokens = None
        if settings.dense.token_vectors:
            tokens = pack([rows for c in chunks if (rows := known[c.chunk_id][1]) is not None], vectors.shape[1])
        manifest = _manifest(generation, documents, chunks, settings, embedder, sources)
        write_generation(index_dir, manifest, documents, chunks, vectors, tokens)
        shutil.rmtree(index_dir / "partial", ignore_errors=True)
        return BuildReport(len(documents), len(chunks), len(fresh), len(chunks) - len(fresh), gone, True)


def open_embedder(settings: IndexSettings) -> Embedder:
    """The embedder the settings name, from verified weights (fetched when missing), or from a local folder."""
    name, adapter = settings.dense.model, settings.dense.adapter
    # A relative path is the checkout's: an index is opened from anywhere.
    folder = ROOT / adapter if adapter else None
    return Embedder(weights_folder(name), Path(name).name, settings.dense.batch_size, folder)


def index_in_memory(
    documents: Sequence[Document], settings: IndexSettings, embedder: Embedder | None = None
) -> tuple[Index, Embedder]:
    """An index of a few documents that never touches the disk, and the embedder it was made with."""
    embedder = embedder or open_embedder(settings)
    chunks = tuple(chunk for doc in documents for chunk in chunk_document(doc, settings.chunking))
    vectors, rows = embedder.encode([contextual_text(c) for c in chunks])
    manifest = _manifest("memory", documents, chunks, settings, embedder, ())
    index = Index(
        manifest,
        settings,
        tuple(documents),
        chunks,
        vectors,
        Faiss(faiss_index(vectors, stable_ids(chunks), settings.dense)),
        pack(rows, embedder.dim),
        Lexical.build([contextual_text(c) for c in chunks], settings.lexical),
        Lexical.build([f"{d.title}\n{d.text}" for d in documents], settings.lexical),
    )
    return index, embedder


@contextmanager
def _only_builder(index_dir: Path) -> Iterator[None]:
    import fcntl

    try:
        index_dir.mkdir(parents=True, exist_ok=True)
        lock = (index_dir / ".lock").open("w")
    except OSError as error:
        raise IndexStateError(
            f"{index_dir}: cannot write there ({error.strerror}). Give --index another folder"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IndexStateError(f"{index_dir}: another build is running. Wait for it, or stop it") from None
        yield


def _old_index(index_dir: Path, embedder: Embedder, settings: IndexSettings) -> Index | None:
    """The present index when its vectors can be reused; None when there is none, it is damaged or of another embedder."""
    try:
        old = open_index(index_dir)
    except (IndexStateError, OSError, ValueError):
        return None
    reusable = old.manifest.embedder == embedder.fingerprint and (
        old.tokens is not None or not settings.dense.token_vectors
    )
    return old if reusable else None


def _known(old: Index | None) -> Known:
    if old is None:
        return {}
    known: Known = {}
    for i, chunk in enumerate(old.chunks):
        rows = None
        if old.tokens is not None:
            span = slice(int(old.tokens.offsets[i]), int(old.tokens.offsets[i + 1]))
            rows = (old.tokens.values[span], old.tokens.scales[span])
        known[chunk.chunk_id] = (old.vectors[i], rows)
    return known


def _partial(folder: Path, embedder: Embedder, settings: IndexSettings) -> Known:
    """Embeddings that a killed build of the same embedder left behind; files of any other are ignored."""
    known: Known = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path) as saved:
                if str(saved["embedder"]) != _partial_tag(embedder, settings):
                    continue
                ids, vectors, offsets = saved["ids"], saved["vectors"], saved["offsets"]
                values, scales = saved["values"], saved["scales"]
        except (OSError, ValueError, KeyError, EOFError):
            continue
        for i, chunk_id in enumerate(ids):
            span = slice(int(offsets[i]), int(offsets[i + 1]))
            known[str(chunk_id)] = (vectors[i], (values[span], scales[span]) if settings.dense.token_vectors else None)
    return known


def _partial_tag(embedder: Embedder, settings: IndexSettings) -> str:
    return f"{embedder.fingerprint} tokens={settings.dense.token_vectors}"


def _embed(
    chunks: Sequence[Chunk], embedder: Embedder, settings: IndexSettings, partial: Path, progress: bool
) -> Known:
    from tqdm import tqdm

    known: Known = {}
    if not chunks:
        return known
    partial.mkdir(parents=True, exist_ok=True)
    used = {path.stem for path in partial.glob("*.npz")}
    with tqdm(total=len(chunks), desc="embedding", unit="chunk", disable=None if progress else True) as bar:
        for at in range(0, len(chunks), SHARD):
            shard = chunks[at : at + SHARD]
            vectors, rows = embedder.encode([contextual_text(c) for c in shard], bar, settings.dense.token_vectors)
            packed = pack(rows, vectors.shape[1])
            name = next(f"{n:06d}" for n in range(1_000_000) if f"{n:06d}" not in used)
            used.add(name)
            draft = partial / f"{name}.tmp"
            with draft.open("wb") as file:
                np.savez(
                    file,
                    embedder=_partial_tag(embedder, settings),
                    ids=[c.chunk_id for c in shard],
                    vectors=vectors,
                    values=packed.values,
                    scales=packed.scales,
                    offsets=packed.offsets,
                )
            draft.replace(partial / f"{name}.npz")
            for i, chunk in enumerate(shard):
                known[chunk.chunk_id] = (vectors[i], rows[i] if settings.dense.token_vectors else None)
    return known


def _manifest(
    generation: str,
    documents: Sequence[Document],
    chunks: Sequence[Chunk],
    settings: IndexSettings,
    embedder: Embedder,
    sources: Sequence[Path],
) -> Manifest:
    return Manifest(
        format=FORMAT,
        generation=generation,
        settings=settings.model_dump(),
        embedder=embedder.fingerprint,
        dim=embedder.dim,
        corpus=_corpus(documents),
        documents=len(documents),
        chunks=len(chunks),
        sources=[str(s) for s in sources],
        files={},
    )


def _corpus(documents: Sequence[Document]) -> str:
    digest = hashlib.sha256()
    for doc in sorted(documents, key=lambda d: d.doc_id):
        digest.update(
            json.dumps([doc.doc_id, doc.version, doc.title, doc.metadata], sort_keys=True, default=str).encode()
        )
    return digest.hexdigest()


def _generation(
    documents: Sequence[Document], chunks: Sequence[Chunk], settings: IndexSettings, embedder: Embedder
) -> str:
    """A name that is the same exactly when the index would be: over format, settings, embedder, documents and chunks."""
    parts = [str(FORMAT), settings.model_dump_json(), embedder.fingerprint, _corpus(documents)]
    parts += [f"{c.chunk_id} {c.start} {c.end}" for c in chunks]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
