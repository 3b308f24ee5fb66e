"""Retrieval, stage by stage: our golden questions, or any BEIR folder (`corpus.jsonl` in the index, `queries.jsonl`, `qrels`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from core import files
from core.errors import DocumentError
from eval import golden
from eval.metrics import ndcg, recall_at, reciprocal_rank
from eval.suite import Bench, Case, Metric, Row, Suite, checked, metric
from rag.retriever import STAGES

DEPTH = 10
_FIGURES = ("nDCG@10", "R@1", "R@5", "MRR@10")


def cases(bench: Bench) -> list[Case]:
    """The golden questions that have spans, or those of the folder given for `retrieval`."""
    folder = bench.data.get("retrieval")
    return beir(bench, folder) if folder else golden.questions(bench, answerable=True)


def beir(bench: Bench, folder: Path) -> list[Case]:
    """BEIR's `queries*.jsonl` with `qrels*.tsv` (or `qrels/*.tsv`): every query that has a relevant document."""
    queries = sorted(folder.glob("queries*.jsonl"))
    qrels = sorted([*folder.glob("qrels*.tsv"), *folder.glob("qrels/*.tsv")])
    if not queries or not qrels:
        raise DocumentError(f"{folder}: needs queries.jsonl and qrels.tsv, as BEIR has them")
    relevant: dict[str, dict[str, float]] = {}
    for path in qrels:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            parts = line.split("\t")
            if number == 1 and not parts[-1].strip().isdigit():
                continue  # the header
            try:
                query, document, grade = parts[0], parts[-2], float(parts[-1])
            except (ValueError, IndexError):
                raise DocumentError(f"{path}:{number}: a line is query-id, corpus-id, score, by tabs") from None
            if grade > 0:
                relevant.setdefault(query, {})[document] = grade
    found = [
        {
            "id": str(row["_id"]),
            "group": str(row.get("group", "all")),
            "question": checked(row, f"{path}:{number}", text=str)["text"],
            "relevant": relevant[str(row["_id"])],
        }
        for path in queries
        for number, row in files.read_jsonl(path)
        if str(row.get("_id")) in relevant
    ]
    if not found:
        raise DocumentError(f"{folder}: no query has a relevant document")
    return bench.take(found, 100)


def prepare(bench: Bench) -> Callable[[Case], Row]:
    """One search by document, and where there are spans one by chunk."""
    retriever = bench.retriever
    documents = retriever.documents()

    def run(case: Case) -> Row:
        spans = golden.located(case, documents) if "spans" in case else []
        relevant: Mapping[str, float] = case.get("relevant") or {doc_id: 1.0 for doc_id, _, _ in spans}
        search = retriever.search(case["question"], k=DEPTH, by="document")
        ranked = {stage: [hit.chunk.doc_id for hit in hits][:DEPTH] for stage, hits in search.stages.items()}
        scores: dict[str, float | None] = {}
        for stage in STAGES:
            names = ranked.get(stage, [])
            scores |= {
                f"{stage} nDCG@10": ndcg(names, relevant, 10),
                f"{stage} R@1": recall_at(names, relevant, 1),
                f"{stage} R@5": recall_at(names, relevant, 5),
                f"{stage} MRR@10": reciprocal_rank(names, relevant, 10),
            }
        if spans:
            hits = retriever.search(case["question"], k=5).hits
            found = [any(golden.overlap(s, h.chunk.doc_id, h.chunk.start, h.chunk.end) for h in hits) for s in spans]
            scores["span R@5"] = sum(found) / len(found)
        return {
            "scores": scores,
            "shown": {"question": case["question"], "relevant": dict(relevant), "retrieved": ranked},
        }

    return run


def _metrics() -> tuple[Metric, ...]:
    stages = [
        metric(f"{stage} {figure}", stage=stage, headline=stage == "reranked" and figure in ("nDCG@10", "R@1", "R@5"))
        for stage in STAGES
        for figure in _FIGURES
    ]
    return (*stages, metric("span R@5", headline=True))


def trec(rows: Sequence[Row]) -> dict[str, str]:
    """`qrels.txt` and a run file of each stage, `STAGE.trec`, as trec_eval and ir-measures read them."""
    found = {"qrels.txt": ""} | {f"{stage}.trec": "" for stage in STAGES}
    for row in rows:
        query = _name(row["id"])
        for document, grade in row["shown"].get("relevant", {}).items():
            found["qrels.txt"] += f"{query} 0 {_name(document)} {grade:g}\n"
        for stage, documents in row["shown"].get("retrieved", {}).items():
            for rank, document in enumerate(documents, 1):
                found[f"{stage}.trec"] += f"{query} Q0 {_name(document)} {rank} {1 / rank:.6f} {stage}\n"
    return found


def _name(text: str) -> str:
    """Without white space, which parts the columns of a TREC file."""
    return quote(text, safe="/:#")


SUITE = Suite(
    "retrieval",
    "Retrieval",
    "Documents ranked by each stage; `span R@5`: the share of gold spans that a passage among the first five overlaps.",
    _metrics(),
    cases,
    prepare,
    lambda _: {m.columns[0]: 0.0 for m in _metrics()},
    frozenset({"index"}),
    exports=trec,
)
