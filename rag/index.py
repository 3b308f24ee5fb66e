"""The index on disk: one generation folder that is written whole, then named by the manifest in a single rename.

INDEX/manifest.json          which generation serves, and everything it was made with
INDEX/generations/<id>/      documents.jsonl chunks.jsonl vectors.npy faiss.index tokens-*.npy bm25/ bm25-document/
INDEX/partial/               embeddings of an unfinished build, taken up again by the next one
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import IndexStateError
from core.files import write
from core.types import Chunk, Document
from rag.chunking import contextual_text
from rag.config import IndexSettings
from rag.embedding import Floats, TokenVectors
from rag.lexical import Lexical
from rag.vectors import Vectors, forget, open_vectors
from rag.vectors import write as write_vectors

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index was made of. `corpus` is the sha256 over all document ids and versions."""

    format: int
    generation: str
    settings: dict[str, Any]
    embedder: str
    dim: int
    corpus: str
    documents: int
    chunks: int
    sources: list[str]
    files: dict[str, int]

    @property
    def mend(self) -> str:
        """The command that builds this index anew."""
        return "python -m rag build " + " ".join(f"--source {s}" for s in self.sources) + " --index"


@dataclass(frozen=True, slots=True)
class Index:
    """An open generation. Row i of every array belongs to `chunks[i]`; row j of `bm25_document` to `documents[j]`."""

    manifest: Manifest
    settings: IndexSettings
    documents: tuple[Document, ...]
    chunks: tuple[Chunk, ...]
    vectors: Floats
    nearest: Vectors
    tokens: TokenVectors | None
    bm25: Lexical
    bm25_document: Lexical


def read_manifest(index_dir: Path) -> Manifest:
    """The manifest; IndexStateError when there is none, it is damaged, or another version of this program wrote it."""
    path = index_dir / "manifest.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise IndexStateError(
            f"{index_dir}: no index there. Make one: python -m rag build --source PATH --index {index_dir}"
        ) from None
    except (OSError, ValueError) as error:
        raise IndexStateError(f"{path}: damaged ({error}). Delete {index_dir} and build it again") from error
    if values.get("format") != FORMAT:
        sources = " ".join(f"--source {s}" for s in values.get("sources", ["PATH"]))
        raise IndexStateError(
            f"{index_dir}: index format {values.get('format')} where this version reads {FORMAT}. "
            f"Run: python -m rag build {sources} --index {index_dir}"
        )
    return Manifest(**values)


def open_index(index_dir: Path) -> Index:
    """The serving generation, vectors memory-mapped; IndexStateError when a file is missing or cut short."""
    for attempt in range(3):
        manifest = read_manifest(index_dir)
        folder = index_dir / "generations" / manifest.generation
        try:
            _check_files(index_dir, folder, manifest)
            return _open(folder, manifest)
        except (IndexStateError, FileNotFoundError):
            # A build may have swapped generations between the two reads: only then is another look worth it.
            if attempt == 2 or read_manifest(index_dir).generation == manifest.generation:
                raise
    raise AssertionError("unreachable")


def write_generation(
    index_dir: Path,
    manifest: Manifest,
    documents: Sequence[Document],
    chunks: Sequence[Chunk],
    vectors: Floats,
    tokens: TokenVectors | None,
) -> None:
    """Writes a generation beside the serving one, makes it the serving one, and removes all others."""
    settings = IndexSettings.model_validate(manifest.settings)
    generations = index_dir / "generations"
    folder = generations / (manifest.generation + ".tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write_lines(folder / "documents.jsonl", [asdict(d) for d in documents])
    _write_lines(
        folder / "chunks.jsonl",
        [{"id": c.chunk_id, "doc": c.doc_id, "span": [c.start, c.end], "headings": c.headings} for c in chunks],
    )
    np.save(folder / "vectors.npy", vectors)
    if tokens is not None:
        np.save(folder / "tokens-values.npy", tokens.values)
        np.save(folder / "tokens-scales.npy", tokens.scales)
        np.save(folder / "tokens-offsets.npy", tokens.offsets)
    write_vectors(folder, vectors, stable_ids(chunks), settings.dense)
    Lexical.build([contextual_text(c) for c in chunks], settings.lexical).save(folder / "bm25")
    Lexical.build([f"{d.title}\n{d.text}" for d in documents], settings.lexical).save(folder / "bm25-document")
    files = {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
    final = generations / manifest.generation
    shutil.rmtree(final, ignore_errors=True)  # left by a build killed between the two renames
    folder.rename(final)
    write(index_dir / "manifest.json", json.dumps(asdict(manifest) | {"files": files}, indent=1))
    earlier = [old for old in generations.iterdir() if old.name != manifest.generation]
    for old in earlier:
        shutil.rmtree(old, ignore_errors=True)
    # Files stay readable to those who have them open; at a server the generation just replaced stays for its readers.
    forget(final, settings.dense, keep=[old.name for old in earlier])


def stable_ids(chunks: Sequence[Chunk]) -> NDArray[np.int64]:
    """FAISS ids: the chunk id's 64 bits, less one so that they stay positive. The same chunk keeps its id for ever."""
    return np.array([int(c.chunk_id, 16) >> 1 for c in chunks], dtype=np.int64)


def _open(folder: Path, manifest: Manifest) -> Index:
    settings = IndexSettings.model_validate(manifest.settings)
    documents = tuple(Document(**row) for row in _read_lines(folder / "documents.jsonl"))
    by_id = {d.doc_id: d for d in documents}
    chunks = tuple(_chunk(row, by_id[row["doc"]]) for row in _read_lines(folder / "chunks.jsonl"))
    tokens = None
    if (folder / "tokens-values.npy").exists():
        tokens = TokenVectors(
            np.load(folder / "tokens-values.npy", mmap_mode="r"),
            np.load(folder / "tokens-scales.npy", mmap_mode="r"),
            np.load(folder / "tokens-offsets.npy"),
        )
    return Index(
        manifest,
        settings,
        documents,
        chunks,
        np.load(folder / "vectors.npy", mmap_mode="r"),
        open_vectors(folder, settings.dense),
        tokens,
        Lexical.load(folder / "bm25", settings.lexical),
        Lexical.load(folder / "bm25-document", settings.lexical),
    )


def _chunk(row: Mapping[str, Any], doc: Document) -> Chunk:
    start, end = row["span"]
    return Chunk(row["id"], doc.doc_id, doc.version, start, end, doc.text[start:end], doc.title, tuple(row["headings"]))


def _check_files(index_dir: Path, folder: Path, manifest: Manifest) -> None:
    for name, size in manifest.files.items():
        path = folder / name
        found = path.stat().st_size if path.exists() else None
        if found != size:
            state = "missing" if found is None else f"{found} bytes where {size} were written"
            raise IndexStateError(f"{path}: {state}. Delete {index_dir} and run: {manifest.mend} {index_dir}")


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
