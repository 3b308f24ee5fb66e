"""The golden sets: `data/eval/golden/*.jsonl`, questions over our notes with the spans that answer them, or with none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core import files
from core.errors import DocumentError
from core.paths import ROOT
from core.types import Document
from eval.suite import Bench, Case

FOLDER = ROOT / "data" / "eval" / "golden"
Span = tuple[str, int, int]  # document, and its text's offsets


def questions(bench: Bench, answerable: bool | None = None) -> list[Case]:
    """Cases `{id, group, question, kind, spans, facts, answer}`; `answerable` chooses one kind."""
    found: list[Case] = []
    for path in sorted(FOLDER.glob("*.jsonl")):
        for number, row in files.read_jsonl(path):
            if answerable is None or (row["kind"] == "answerable") is answerable:
                found.append(_case(row, f"{path}:{number}"))
    if not found:
        raise DocumentError(f"{FOLDER}: no golden questions there")
    return bench.take(found, 40)


def located(case: Case, documents: Mapping[str, Document]) -> list[Span]:
    """Where the case's quotes stand in the documents' texts. DocumentError where one does not."""
    found = []
    for span in case["spans"]:
        document = documents.get(span["doc_id"])
        place = _place(document.text, span["quote"]) if document else None
        if place is None:
            raise DocumentError(
                f"{case['id']}: {span['doc_id']} does not say {span['quote'][:60]!r}. Build the index from data/corpus"
            )
        found.append((span["doc_id"], *place))
    return found


def overlap(span: Span, doc_id: str, start: int, end: int) -> bool:
    """Whether a passage shares characters with a span."""
    return doc_id == span[0] and start < span[2] and span[1] < end


def _case(row: dict[str, Any], where: str) -> Case:
    try:
        answerable = row["kind"] == "answerable"
        return {
            "id": row["id"],
            "group": row["id"].split("/")[0] if answerable else f"unanswerable: {row['trap']}",
            "kind": row["kind"],
            "question": row["question"],
            "spans": row.get("spans", []),
            "facts": row.get("facts", []),
            "answer": row.get("answer", row.get("why", "")),
        }
    except (KeyError, TypeError) as error:
        raise DocumentError(f"{where}: not a golden question ({type(error).__name__}: {error})") from None


def _place(text: str, quote: str) -> tuple[int, int] | None:
    """Offsets of the quote, white space aside."""
    import re

    found = re.search(r"\s+".join(map(re.escape, quote.split())), text)
    return found.span() if found else None
