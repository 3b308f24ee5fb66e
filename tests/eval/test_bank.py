"""The quality report of a bank, on the shipped one and on banks made to fail it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import DocumentError
from core.paths import ROOT
from eval import report, running
from eval.suite import Bench
from eval.suites import bank
from serving.client import ChatClient, Endpoint
from tests.wire import model_server


def _measured(suite: Any, out: Path, client: ChatClient | None = None, **given: Any) -> dict[str, float]:
    bench = Bench(out / "no-index", client, **given)
    found = running.run([suite], bench, out, fresh=True)["suites"][suite.name]
    assert found["note"] == "" and found["errors"] == 0
    return {name: figure["value"] for name, figure in found["metrics"].items()}


def test_the_shipped_bank_gives_nothing_away(tmp_path: Path) -> None:
    found = _measured(bank.SHAPE, tmp_path)
    assert found["key is the longest option"] <= 0.30 and found["key letters, χ² p"] > 0.05
    assert found["questions with a cue"] == 0 and found["near-duplicates"] == 0
    assert found["source spans valid"] == 1.0 and found["weight error (L1)"] <= 0.05


def test_a_bank_that_leaks_is_seen_to(tmp_path: Path) -> None:
    rows = [
        {
            "_id": str(n),
            "text": "Which of them?",
            "options": ["short", "a", "the longest of them all", "b"],
            "correct": 2,
        }
        for n in range(20)
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = _measured(bank.SHAPE, tmp_path, data={"bank": tmp_path / "x.jsonl"})
    assert found["key is the longest option"] == 1.0 and found["key letters, χ² p"] < 0.001
    assert found["questions with a cue"] == 1.0 and found["near-duplicates"] == 1.0
    assert "weight error (L1)" not in found and "source spans valid" not in found


def test_a_figure_tells_its_own_cases_and_a_p_value_has_no_interval(tmp_path: Path) -> None:
    asked = bank.load(ROOT / "data" / "questions")
    found = running.run([bank.SHAPE], Bench(tmp_path / "no-index", None), tmp_path, fresh=True)["suites"]["bank"]
    single = sum(len(q.correct) == 1 for q in asked)
    assert found["metrics"]["key is the longest option"]["n"] == single < len(asked)
    assert found["metrics"]["source spans valid"]["n"] == len(asked)
    assert {name for name, figure in found["metrics"].items() if "low" not in figure} == {
        "key letters, χ² p",
        "weight error (L1)",
    }
    assert report.shown(found["metrics"]["key letters, χ² p"]).count("[") == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [('{"text": "x"}', "not a question"), ('{"text": "x", "options": ["a", "b"], "correct": 7}', "right ones among them"),
     ("nonsense", "not JSON"), ("", "no questions in it")],
)  # fmt: skip
def test_a_file_that_is_no_bank(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "x.jsonl").write_text(line + "\n")
    with pytest.raises(DocumentError, match=says):
        bank.load(tmp_path / "x.jsonl")


def test_solvers_find_what_the_passage_says(tmp_path: Path) -> None:
    questions = bank.load(ROOT / "data" / "questions")[:6]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(bank.asdict(q)) + "\n" for q in questions))
    keys = {q.options[i] for q in questions for i in q.correct}

    def script(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        letters = [x[0] for x in asked.splitlines() if x[1:3] == ") " and x[3:] in keys]
        return letters[0] if asked.startswith("Notes:") else "A"

    with model_server(script) as (url, requests):
        client = ChatClient(Endpoint(base_url=url, model="scripted"))
        found = _measured(bank.SOLVED, tmp_path, client, data={"bank": tmp_path / "x.jsonl"}, concurrency=2)
        assert requests
    assert found["open book"] == 1.0 and found["open book minus closed book"] > 0.3
    assert found["options only"] <= 0.5
