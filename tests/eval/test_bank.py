"""The quality report of a bank, on banks made to fail it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import DocumentError
from core.paths import ROOT
from eval.suites import bank
from rag.documents import document
from serving.client import ChatClient, Endpoint
from tests.wire import model_server


def test_the_shipped_bank_s_shape() -> None:
    found = bank.shape(bank.load(ROOT / "data" / "questions"))
    assert found["questions"] >= 200 and found["weight error (L1)"] <= 0.05
    assert found["key is the longest option"] <= 0.30 and found["key letters, chi-squared p"] > 0.05


def test_a_bank_that_leaks_is_seen_to(tmp_path: Path) -> None:
    rows = [
        {"_id": str(n), "text": f"Which {n}?", "options": ["short", "a", "the longest of them all", "b"], "correct": 2}
        for n in range(20)
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = bank.shape(bank.load(tmp_path / "x.jsonl"))
    assert found["key is the longest option"] == 1.0 and found["key letters, chi-squared p"] < 0.001
    assert found["cues"]["length"] == 20 and "weight error (L1)" not in found
    assert "| key is the longest option | 1.000 |" in "\n".join(bank.table({"x": found}))


@pytest.mark.parametrize(
    ("line", "says"),
    [('{"text": "x"}', "not a question"), ('{"text": "x", "options": ["a", "b"], "correct": 7}', "right ones among them"),
     ("nonsense", "not JSON"), ("", "no questions in it")],
)  # fmt: skip
def test_a_file_that_is_no_bank(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "x.jsonl").write_text(line + "\n")
    with pytest.raises(DocumentError, match=says):
        bank.load(tmp_path / "x.jsonl")


def test_spans_duplicates_and_solvers(tmp_path: Path) -> None:
    doc = document("lora.md", "LoRA", "# LoRA\n\nLoRA trains two small matrices.\n\nMore.")
    questions = bank.load(ROOT / "data" / "questions")[:3]
    span = doc.text.index("LoRA trains")
    quote = "LoRA trains two small matrices."
    source = replace(questions[0].source, doc_id="lora.md", start=span, end=span + len(quote), quote=quote)
    questions = [replace(q, id=str(n), source=source) for n, q in enumerate(questions)]
    wrong = replace(questions[2], source=replace(source, quote="LoRA trains three."))
    assert bank.in_sources([*questions[:2], wrong], {"lora.md": doc}) == {"source spans valid": pytest.approx(2 / 3)}
    vectors = np.array([[1, 0], [0.95, np.sqrt(1 - 0.95**2)], [0, 1]], np.float32)
    assert bank.repeated(questions, lambda texts: vectors) == {"near-duplicates": [["0", "1"]]}
    keys = {q.options[q.correct[0]] for q in questions}

    def script(body: dict[str, Any]) -> str:
        lines = body["messages"][-1]["content"].splitlines()
        letters = [x[0] for x in lines if x[1:3] == ") " and x[3:] in keys]
        return letters[0] if "small matrices" in body["messages"][-1]["content"] else "A"

    with model_server(script) as (url, requests):
        client = ChatClient(Endpoint(base_url=url, model="m"))
        found = bank.solved(questions, {"lora.md": doc}, client, tmp_path / "j.jsonl", concurrency=2)
        asked = len(requests)
        assert (
            bank.solved(questions, {"lora.md": doc}, client, tmp_path / "j.jsonl") == found and len(requests) == asked
        )
    assert found["open book accuracy"] == 1.0 and found["open book minus closed book"] > 0.3
