"""Base against adapter over the wire: figures as worked by hand, and the gain between two runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from eval import compare, running
from eval.suite import Bench
from eval.suites import SUITES, chosen
from rag.prompts import DECLINE
from serving.client import ChatClient, Endpoint
from tests.wire import model_server


@pytest.fixture(autouse=True)
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENL_VAR", str(tmp_path / "var"))


def _files(folder: Path) -> dict[str, Path]:
    """Four rows over sources (two to decline), two exam rows, two MTRAG tasks and one of another kind."""
    data = []
    for n in range(4):
        kind = "refusal" if n % 2 else "grounded"
        data.append({
            "id": f"t{n}", "kind": kind, **({"gold": [2]} if kind == "grounded" else {}),
            "messages": [{"role": "system", "content": "numbered sources"}, {"role": "user", "content": f"{kind} {n}"},
                         {"role": "assistant", "content": "-"}],
        })  # fmt: skip
    for n, letter in enumerate("AB"):
        options = ["this one", "right", "that one", "none"] if n else ["right", "this one", "that one", "none"]
        lines = [f"{name}) {option}" for name, option in zip("ABCD", options, strict=True)]
        asked = {"role": "user", "content": "\n".join([f"Question: exam {n}", *lines, "Answer with the letter first."])}
        data.append({"id": f"e{n}", "kind": "exam", "answer": letter, "messages": [asked, asked]})
    tasks = [
        {"task_id": f"m{n}", "answerability": [label], "input": [{"speaker": "user", "text": f"{label} question"}],
         "contexts": [{"document_id": "d", "text": "Some text."}] * (label == "ANSWERABLE")}
        for n, label in enumerate(("ANSWERABLE", "UNANSWERABLE", "CONVERSATIONAL"))
    ]  # fmt: skip
    for name, rows in (("data", data), ("mtrag", tasks)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"finetune": folder / "data.jsonl", "mtrag-un": folder / "mtrag.jsonl"}


def _script(body: dict[str, Any]) -> str:
    asked = body["messages"][-1]["content"]
    if body.get("logprobs"):  # the base likes a letter, the tutor knows
        return "A" if body["model"] == "base" else next(line[0] for line in asked.split("\n") if line[1:] == ") right")
    if body["model"] == "base":
        return "It is so. [1] And so. [2]"
    return DECLINE if "refusal" in asked or "UNANSWERABLE" in asked else "It is so. [2]"


def test_figures_and_gains(tmp_path: Path) -> None:
    data = _files(tmp_path)
    suites = chosen(["finetune", "mtrag-un"], data)
    found = {}
    with model_server(_script, models=("base", "tutor")) as (url, requests):
        for model in ("base", "tutor"):
            bench = Bench(tmp_path, ChatClient(Endpoint(base_url=url, model=model)), data=data)
            found[model] = running.run(suites, bench, tmp_path / model)["suites"]
    assert len(requests) == 2 * (4 + 4 * 2 + 2)
    base, tutor = found["base"]["finetune"]["metrics"], found["tutor"]["finetune"]["metrics"]
    assert base["refusal F1"]["value"] == 0 and tutor["refusal F1"]["value"] == 1
    assert base["citation precision"]["value"] == 0.5 and tutor["citation precision"]["value"] == 1
    assert base["exam accuracy"]["value"] == 0 and tutor["exam accuracy"]["value"] == 1
    assert base["exam accuracy, one order"]["value"] == 0.25 and tutor["exam accuracy, one order"]["value"] == 1
    assert found["tutor"]["mtrag-un"]["metrics"]["refusal recall"]["value"] == 1
    gained = {(d.suite, d.metric): d.change for d in compare.compare(SUITES, tmp_path / "base", tmp_path / "tutor")}
    assert gained["finetune", "citation precision"] == 0.5 and gained["mtrag-un", "refusal F1"] == 1


def test_a_suite_without_cases_of_its_own_is_said_and_left_out_of_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data mtrag-un=PATH"):
        chosen(["mtrag-un"])
    with pytest.raises(ConfigError, match="no suite 'mtrag'"):
        chosen(["exam"], ["mtrag"])
    assert "mtrag-un" not in [s.name for s in chosen(["all"])]
    assert "mtrag-un" in [s.name for s in chosen(["all"], ["mtrag-un"])]
