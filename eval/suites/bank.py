"""The quality of a bank of questions: what its shape gives away, where its keys stand in the notes, what a solver makes of it.

Banks in our format (`data/questions/*.jsonl`) are measured whole. Others need `text` or `question`, `options` and
`correct` (an index or a list of them); what rests on sources and domains is then left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.bank import OPTION_LETTERS, Question, Source, passage, question, valid
from agents.examiner.cues import cues, key_is_longest
from agents.examiner.gates import NEAR, text_of
from agents.examiner.solver import Mode, chance, probabilities, right
from core import files, journal
from core.errors import DocumentError
from core.exam import DOMAINS
from core.types import Document

if TYPE_CHECKING:
    from rag.embedding import Floats
    from serving.client import ChatClient

MODES: tuple[Mode, ...] = ("open book", "closed book", "options only")
Found = dict[str, Any]


def load(path: Path) -> list[Question]:
    """The questions of a file, or of all .jsonl files of a folder. DocumentError names the row that is none."""
    paths = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    found = [_question(row, f"{p}:{number}") for p in paths for number, row in files.read_jsonl(p)]
    if not found:
        raise DocumentError(f"{path}: no questions in it")
    return found


def shape(questions: Sequence[Question]) -> Found:
    """What can be said of the questions alone. Rates are of single-answer questions where letters and lengths are meant."""
    from scipy.stats import chisquare

    single = [q for q in questions if len(q.correct) == 1]
    letters = Counter(q.correct[0] for q in single)
    given_away = [cues(q) for q in questions]
    found: Found = {"questions": len(questions), "single-answer": len(single)}
    if single:
        options = max(len(q.options) for q in single)
        found["key is the longest option"] = sum(map(key_is_longest, single)) / len(single)
        found["key letters"] = {OPTION_LETTERS[i]: letters[i] for i in range(options)}
        found["key letters, chi-squared p"] = float(chisquare([letters[i] for i in range(options)]).pvalue)
    found["questions with a cue"] = sum(map(bool, given_away)) / len(questions)
    found["cues"] = dict(Counter(cue for found_in in given_away for cue in found_in).most_common())
    if all(q.domain for q in questions):
        shares = Counter(q.domain for q in questions)
        found["questions by domain"] = {d.number: shares[d.number] for d in DOMAINS}
        found["weight error (L1)"] = sum(abs(shares[d.number] / len(questions) - d.weight / 100) for d in DOMAINS)
    return found


def in_sources(questions: Sequence[Question], documents: Mapping[str, Document]) -> Found:
    """The share of questions whose source says word for word what they quote; empty for a bank without sources."""
    if not all(q.source.doc_id for q in questions):
        return {}
    held = [q.source.doc_id in documents and valid(q.source, documents[q.source.doc_id]) for q in questions]
    return {"source spans valid": sum(held) / len(held)}


def repeated(questions: Sequence[Question], encode: Callable[[Sequence[str]], Floats]) -> Found:
    """Pairs of questions that ask the same: cosine over NEAR between stem and key of one and of the other."""
    import numpy as np

    vectors = encode([text_of(q) for q in questions])
    near = np.argwhere(np.triu(vectors @ vectors.T, 1) > NEAR)
    return {"near-duplicates": [[questions[a].id, questions[b].id] for a, b in near]}


def solved(
    questions: Sequence[Question],
    documents: Mapping[str, Document],
    client: ChatClient,
    path: Path,
    rotations: int | None = None,
    concurrency: int = 1,
) -> Found:
    """Accuracy with the passage, without it, and with nothing but the options; kept in `path` as it comes."""
    jobs: dict[str, tuple[Question, Mode]] = {}
    for mode in MODES:
        for q in questions:
            if mode != "open book" or q.source.doc_id in documents:
                jobs[f"{client.endpoint.model} {mode} {q.id}"] = (q, mode)

    def work(job: tuple[Question, Mode]) -> Found:
        q, mode = job
        text = passage(q.source, documents[q.source.doc_id]) if mode == "open book" else ""
        chances = probabilities(client, q, mode, text, rotations)
        return {"id": q.id, "mode": mode, "chances": [round(c, 4) for c in chances], "right": right(q, chances)}

    rows = journal.each(work, jobs, path, label=client.endpoint.model, unit="question", concurrency=concurrency)
    found: Found = {"chance": sum(map(chance, questions)) / len(questions)}
    for mode in MODES:
        mine = [row["right"] for row in rows.values() if row["mode"] == mode]
        if mine:
            found[f"{mode} accuracy"] = sum(mine) / len(mine)
    if "open book accuracy" in found:
        found["open book minus closed book"] = found["open book accuracy"] - found["closed book accuracy"]
    return found


def table(measured: Mapping[str, Found]) -> Iterator[str]:
    """A Markdown table: a row a figure, a column a bank."""
    names = list(dict.fromkeys(name for found in measured.values() for name in found))
    yield "| | " + " | ".join(measured) + " |"
    yield "|---" * (len(measured) + 1) + "|"
    for name in names:
        yield f"| {name} | " + " | ".join(_shown(found.get(name, "–")) for found in measured.values()) + " |"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return str(len(value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _question(row: Mapping[str, Any], where: str) -> Question:
    try:
        if "source" in row:
            return question(row)
        options, given = tuple(map(str, row["options"])), row["correct"]
        correct = tuple(given) if isinstance(given, list) else (int(given),)
        if not correct or not all(isinstance(i, int) and 0 <= i < len(options) <= len(OPTION_LETTERS) for i in correct):
            raise ValueError(f"up to {len(OPTION_LETTERS)} options, and the right ones among them")
        return Question(
            str(row.get("id", row.get("_id", where))), 0, "", "", "", str(row.get("question", row.get("text", ""))),
            options, correct, str(row.get("explanation", "")), (), Source("", 0, 0, ""), {},
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DocumentError(f"{where}: not a question ({type(error).__name__}: {error})") from None
