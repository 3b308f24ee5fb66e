"""Files of questions in, TREC run files out (`qid Q0 docid rank score tag`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from core import files
from core.errors import DocumentError
from rag.retriever import By, Retriever, Stage


def read_queries(path: Path) -> list[tuple[str, str]]:
    """`(_id, text)` of each row; DocumentError with the line for a row without them or with an id seen before."""
    rows: dict[str, str] = {}
    for number, row in files.read_jsonl(path):
        query_id, text = row.get("_id"), row.get("text")
        if not isinstance(query_id, str | int) or not isinstance(text, str):
            raise DocumentError(f"{path}:{number}: a query row needs `_id` and a text value for `text`")
        if str(query_id) in rows:
            raise DocumentError(f"{path}:{number}: query id {query_id!r} appears twice")
        rows[str(query_id)] = text
    if not rows:
        raise DocumentError(f"{path}: no queries in it")
    return list(rows.items())


def write_run(
    retriever: Retriever, queries: Sequence[tuple[str, str]], k: int, by: By, stage: Stage, out: Path | None
) -> None:
    """Ranks every query and writes the run whole, or to stdout. Blanks in ids become `%20`, as TREC separates by blanks."""
    from tqdm import tqdm

    draft = out.with_name(out.name + ".tmp") if out else None
    if draft:
        _parent(draft)
    with draft.open("w", encoding="utf-8") if draft else nullcontext(sys.stdout) as file:
        for query_id, text in tqdm(queries, desc="searching", unit="query", disable=None):
            for hit in retriever.search(text, k, by, stage).hits:
                found = hit.chunk.doc_id if by == "document" else hit.chunk.chunk_id
                file.write(f"{_token(query_id)} Q0 {_token(found)} {hit.rank} {hit.score:.6f} genl-{stage}\n")
    if draft and out:
        draft.replace(out)


def _token(text: str) -> str:
    return "".join("%20" if ch.isspace() else ch for ch in text)


def _parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DocumentError(f"{path.parent}: cannot write there ({error.strerror})") from error
