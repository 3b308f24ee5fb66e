"""One whole question on this machine: searched, answered by an embedded model, cited; times of each stage."""

from __future__ import annotations

import tempfile
from pathlib import Path

from core.paths import CORPUS
from core.types import Message
from rag.answering import Answerer
from rag.building import build
from rag.retriever import Retriever
from serving.connect import connect

MODEL = "smollm2-135m-instruct"
QUESTIONS = (
    "What does LoRA train?",
    "Why is decoding limited by memory bandwidth?",
    "When is BM25 better than dense retrieval?",
)


def measure(toy: bool) -> dict[str, float]:
    """Milliseconds of each stage, the middle of three questions after a first one."""
    corpus = CORPUS / "trustworthy" if toy else CORPUS
    with tempfile.TemporaryDirectory(prefix="genl-question-") as folder:
        build([corpus], Path(folder) / "ix", progress=False)
        with connect(MODEL) as client:
            answerer = Answerer(Retriever.open(Path(folder) / "ix"), client)
            answerer.answer([Message("user", "What is a token?")])
            timings = [answerer.answer([Message("user", question)]).timings_ms for question in QUESTIONS]
    names = [name for name in timings[0] if all(name in row for row in timings)]
    return {f"{name.replace('_', ' ')}, ms": sorted(row[name] for row in timings)[1] for name in names}
