"""Base against adapter over the wire: figures as worked by hand, the gain with its interval, and nothing asked twice after a kill."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from core.errors import ServingError
from finetune import publishing
from finetune.evaluation import Case, difference, evaluate, exam_cases, mtrag_cases, own_cases, spread, summary
from rag.prompts import DECLINE
from serving.client import ChatClient, Endpoint
from tests.wire import model_server


def _files(folder: Path) -> Namespace:
    """Four rows over sources (two to decline), two exam rows, two MTRAG tasks, two questions."""
    data = []
    for n in range(4):
        kind = "refusal" if n % 2 else "grounded"
        data.append({
            "id": f"t{n}", "kind": kind, "gold": [2],
            "messages": [{"role": "system", "content": "numbered sources"}, {"role": "user", "content": f"{kind} {n}"},
                         {"role": "assistant", "content": "-"}],
        })  # fmt: skip
    for n, letter in enumerate("AB"):
        asked = {"role": "user", "content": f"exam {n}"}
        data.append({"id": f"e{n}", "kind": "exam", "answer": letter, "messages": [asked, asked]})
    tasks = [
        {"task_id": f"m{n}", "answerability": [label], "input": [{"speaker": "user", "text": f"{label} question"}],
         "contexts": [{"document_id": "d", "text": "Some text."}]}
        for n, label in enumerate(("ANSWERABLE", "UNANSWERABLE", "CONVERSATIONAL"))
    ]  # fmt: skip
    questions = [
        {"_id": f"q{n}", "text": f"Which {n}?", "options": ["w", "x", "y", "z"], "correct": n} for n in range(2)
    ]
    for name, rows in (("data", data), ("mtrag", tasks), ("questions", questions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Namespace(
        data=folder / "data.jsonl", mtrag=folder / "mtrag.jsonl", questions=folder / "questions.jsonl", index=None,
        limit=None, out=folder / "out", models=["base", "tutor"],
    )  # fmt: skip


def _script(body: dict[str, Any]) -> str:
    asked = body["messages"][-1]["content"]
    if body.get("logprobs"):
        return "A" if body["model"] == "base" or "0" in asked else "B"
    right = "refusal" in asked or "UNANSWERABLE" in asked
    if body["model"] == "base":
        return "It is so. [1] And so. [2]"
    return DECLINE if right else "It is so. [2]"


def test_figures_gains_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = _files(tmp_path)
    with model_server(_script) as (url, requests):
        publishing.compare(Namespace(**vars(args), url=url))
    assert len(requests) == 2 * (4 + 2 + 2 + 2)
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["base"]["tutor"]["refusal F1"][0] == 0 and found["tutor"]["tutor"]["refusal F1"][0] == 1
    assert found["base"]["tutor"]["citation precision"][0] == 0.5
    assert found["tutor - base"]["tutor"]["citation precision"][0] == 0.5
    assert found["base"]["exam"]["accuracy"][0] == 0.5 and found["tutor"]["dev exam"]["accuracy"][0] == 1
    assert found["tutor"]["mtrag-un"]["refusal recall"][0] == 1
    for metrics in found["tutor - base"].values():
        assert all(low <= value <= high for value, low, high in metrics.values())
    assert len((tmp_path / "out" / "cases.jsonl").read_text().splitlines()) == 20
    assert not (tmp_path / "out" / "cases.partial.jsonl").exists()
    assert "refusal F1" in capsys.readouterr().out


def test_an_evaluation_that_broke_off_goes_on(tmp_path: Path) -> None:
    args = _files(tmp_path)
    cases = own_cases(args.data) + mtrag_cases(args.mtrag) + exam_cases(args.questions, None)

    def broken(body: dict[str, Any]) -> str:
        if "exam 1" in body["messages"][-1]["content"]:
            raise OSError  # the server hangs up
        return _script(body)

    partial = tmp_path / "partial.jsonl"
    with model_server(broken) as (url, _), pytest.raises(ServingError):
        client = ChatClient(Endpoint(base_url=url, model="tutor", max_retries=0))
        evaluate(client, cases, partial, concurrency=1)
    kept = len(partial.read_text().splitlines())
    assert kept >= 4
    with model_server(_script) as (url, requests):
        rows = evaluate(ChatClient(Endpoint(base_url=url, model="tutor")), cases, partial)
    assert len(requests) == len(cases) - kept and [r["id"] for r in rows] == [c.id for c in cases]


def test_a_gain_seen_in_every_question_excludes_nothing_but_itself() -> None:
    cases = [Case(str(n), "exam", (), letter="A") for n in range(10)]
    wrong, right = [{"chosen": "B"}] * 10, [{"chosen": "A"}] * 10
    assert difference(cases, wrong, right)["exam"]["accuracy"] == (1.0, 1.0, 1.0)
    assert summary(cases, right)["exam"]["accuracy"] == (1.0, 1.0, 1.0)


def test_a_limit_is_spread_over_all() -> None:
    assert list(spread(range(10), 3)) == [0, 3, 6] and list(spread(range(2), 3)) == [0, 1]
