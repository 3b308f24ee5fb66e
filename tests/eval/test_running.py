"""Runs that are killed, cut off or repeated; comparisons that see what was planted and nothing else; reports that stand alone."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agents.errors import AgentError
from core.errors import ConfigError, ServingError
from core.paths import CORPUS, ROOT
from eval import compare, golden, report, running
from eval.metrics import f1
from eval.suite import Bench, Case, Metric, Row, Suite, metric
from eval.suites import SUITES, answers, chosen, exam, finetune, retrieval
from rag.documents import load_sources
from serving.client import ChatClient, Endpoint
from tests.app.test_render import EVIL, Tags
from tests.wire import model_server

SCHEMA = json.loads((ROOT / "eval" / "result.schema.json").read_text())


@pytest.fixture(autouse=True)
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENL_VAR", str(tmp_path / "var"))
    return tmp_path / "var"


def _suite(run: Callable[[Case], Row], count: int = 40, **changed: Any) -> Suite:
    cases = [
        {"id": f"c{n}", "group": "even" if n % 2 == 0 else "odd", "question": f"Question {n}?"} for n in range(count)
    ]
    given = Suite(
        "toy", "Toy", "A suite.",
        (metric("right", headline=True), Metric("F1", ("given", "wanted"), f1)),
        lambda bench: bench.take(cases, 10), lambda bench: run, lambda case: {"right": 0.0, "given": 0.0, "wanted": 1.0},
        frozenset(),
    )  # fmt: skip
    return replace(given, **changed)


def _scored(rate: float, seed: int = 0) -> Callable[[Case], Row]:
    def run(case: Case) -> Row:
        right = float(random.Random(f"{seed}{case['id']}").random() < rate)
        return {"scores": {"right": right, "given": right, "wanted": 1.0}, "shown": {"question": case["question"]}}

    return run


def _bench(tmp_path: Path, **given: Any) -> Bench:
    return Bench(tmp_path / "no-index", None, **given)


def test_a_killed_run_goes_on_and_gives_the_same_numbers(tmp_path: Path) -> None:
    asked: list[str] = []

    def dying(case: Case) -> Row:
        if len(asked) == 25:
            raise KeyboardInterrupt
        asked.append(str(case["id"]))
        return _scored(0.6)(case)

    with pytest.raises(KeyboardInterrupt):
        running.run([_suite(dying)], _bench(tmp_path), tmp_path / "a")
    (kept,) = (tmp_path / "var" / "eval").glob("toy.jsonl")
    with kept.open("a") as file:
        file.write('{"key": "half a li')  # as a kill leaves it
    again: list[str] = []

    def counting(case: Case) -> Row:
        again.append(str(case["id"]))
        return _scored(0.6)(case)

    found = running.run([_suite(counting)], _bench(tmp_path), tmp_path / "a")
    whole = running.run([_suite(_scored(0.6))], _bench(tmp_path), tmp_path / "b", fresh=True)
    assert sorted(asked + again) == sorted(f"c{n}" for n in range(40))  # none twice
    assert found["suites"]["toy"]["metrics"] == whole["suites"]["toy"]["metrics"]
    assert [r["id"] for r in compare.rows(tmp_path / "a", "toy")] == [f"c{n}" for n in range(40)]
    jsonschema.validate(found, SCHEMA)


def test_what_fails_counts_as_failure(tmp_path: Path) -> None:
    def run(case: Case) -> Row:
        if case["id"] in ("c1", "c3"):
            raise AgentError("too long")
        return _scored(1.0)(case)

    found = running.run([_suite(run, 10)], _bench(tmp_path), tmp_path / "a")["suites"]["toy"]
    assert found["errors"] == 2 and found["metrics"]["right"]["value"] == 0.8 and found["metrics"]["right"]["n"] == 10
    assert found["groups"]["odd"]["right"] == 0.6 and found["groups"]["even"]["right"] == 1.0
    assert "2 cases could not be run" in (report.write(tmp_path / "a") and (tmp_path / "a" / "report.html").read_text())


def test_an_endpoint_that_dies_leaves_a_report_that_says_so(tmp_path: Path) -> None:
    with model_server(lambda body: "yes") as (url, requests):
        client = ChatClient(Endpoint(base_url=url, model="scripted", max_retries=0))
        stop = threading.Event()

        def run(case: Case) -> Row:
            if stop.is_set() or len(requests) >= 15:
                stop.set()
                raise ServingError("cannot be reached")
            client.complete([])
            return _scored(1.0)(case)

        client.healthy = lambda: not stop.is_set()  # type: ignore[method-assign]
        bench = Bench(tmp_path / "no-index", client)
        asking = _suite(run, needs=frozenset({"model"}))
        found = running.run(
            [asking, replace(asking, name="later"), _suite(_scored(1.0), name="alone")], bench, tmp_path / "a"
        )
    toy, later, alone = (found["suites"][name] for name in ("toy", "later", "alone"))
    assert toy["run"] == 15 and "ended early, 15 of 40 cases: cannot be reached" in toy["note"]
    assert later["run"] == 0 and "not run" in later["note"] and alone["run"] == 40
    jsonschema.validate(found, SCHEMA)
    summary = report.write(tmp_path / "a")
    assert "ended early, 15 of 40" in summary and "ended early" in (tmp_path / "a" / "report.html").read_text()


def test_kept_rows_never_cross_a_change_of_model_index_or_options(tmp_path: Path) -> None:
    runs: list[str] = []

    def run(case: Case) -> Row:
        runs.append(str(case["id"]))
        return _scored(1.0)(case)

    asking = _suite(run, 5, needs=frozenset({"model", "index"}))
    index = tmp_path / "ix"
    index.mkdir()
    (index / "manifest.json").write_text("{}")

    def counted(url: str, **given: Any) -> int:
        runs.clear()
        running.run(
            [asking], Bench(index, ChatClient(Endpoint(base_url=url, model="scripted")), **given), tmp_path / "a"
        )
        return len(runs)

    with model_server(lambda body: "x") as (one, _), model_server(lambda body: "x") as (other, _):
        assert [counted(one), counted(one), counted(other), counted(one)] == [5, 0, 5, 0]
        assert counted(one, options={"judge": True}) == 5
        (index / "manifest.json").write_text('{"generation": "2"}')
        assert counted(one) == 5


def test_planted_regressions_are_flagged_and_a_a_is_not(tmp_path: Path) -> None:
    suites = {"toy": _suite(_scored(0.8), 200)}
    running.run([suites["toy"]], _bench(tmp_path), tmp_path / "before", fresh=True)
    running.run([_suite(_scored(0.5), 200)], _bench(tmp_path), tmp_path / "worse", fresh=True)
    found = compare.compare(suites, tmp_path / "before", tmp_path / "worse")
    assert found[0].verdict == "worse" and found[0].headline and found[0].change < -0.2
    assert compare.compare(suites, tmp_path / "worse", tmp_path / "before")[0].verdict == "better"
    assert all(
        d.verdict == "no difference shown"
        for d in compare.compare(suites, tmp_path / "before", tmp_path / "worse", 0.5)
    )
    alarms = 0
    for seed in range(20):  # the same rate, other luck: nothing has changed
        running.run([_suite(_scored(0.8, seed + 1), 200)], _bench(tmp_path), tmp_path / "again", fresh=True)
        alarms += any(
            d.verdict != "no difference shown"
            for d in compare.compare(suites, tmp_path / "before", tmp_path / "again", seed=seed)
        )
    assert alarms <= 2  # one in twenty is what the interval allows
    with pytest.raises(ConfigError, match="no result of a run there"):
        compare.compare(suites, tmp_path / "nowhere", tmp_path / "again")


def test_a_report_stands_alone_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evil(case: Case) -> Row:
        return {
            "scores": {"right": 0.0, "given": 0.0, "wanted": 1.0},
            "shown": {"question": EVIL, "answer": EVIL, "retrieved": [{"text": EVIL}]},
        }

    suite = _suite(evil, 4)
    monkeypatch.setitem(SUITES, "toy", suite)
    running.run([_suite(_scored(1.0), 4)], _bench(tmp_path), tmp_path / "before", fresh=True)
    running.run([suite], _bench(tmp_path), tmp_path / "a", fresh=True)
    summary = report.write(tmp_path / "a", tmp_path / "before")
    assert summary.index("worse") < summary.index("| suite | figure | value")  # regressions first
    page = (tmp_path / "a" / "report.html").read_text()
    for tag, attributes in Tags(page).tags:
        assert tag not in ("script", "img", "link", "iframe") and not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("href", "#")).startswith("#") and "src" not in attributes
    assert page.index("Against the baseline") < page.index("Headlines") < page.index("Worst cases")
    assert not re.search(r"url\(|@import", page)


def test_a_report_of_a_machine_shows_every_figure_beside_its_goal(tmp_path: Path) -> None:
    def run(case: Case) -> Row:
        figures = {"tokens/s": 1234.5, "decode ÷ bandwidth": 0.8}
        return {"scores": figures, "shown": {"figures": figures, "goals": {"decode ÷ bandwidth": 0.7}}}

    running.run([_suite(run, 1, metrics=(metric("decode ÷ bandwidth"),))], _bench(tmp_path), tmp_path / "a")
    summary = report.write(tmp_path / "a")
    assert summary.endswith("| c0 | tokens/s | 1,234 |  |\n| c0 | decode ÷ bandwidth | 0.8 | ≥ 0.7 |")
    assert "1,234" in (tmp_path / "a" / "report.html").read_text()


def test_the_golden_set_quotes_the_notes(tmp_path: Path) -> None:
    documents = {d.doc_id: d for d in load_sources([CORPUS])}
    cases = golden.questions(_bench(tmp_path))
    with_answer = [c for c in cases if c["kind"] == "answerable"]
    assert len(with_answer) >= 150 and len(cases) - len(with_answer) >= 50
    assert len({c["id"] for c in cases}) == len(cases) and len({c["question"] for c in cases}) == len(cases)
    for case in with_answer:
        assert golden.located(case, documents)
        assert all(any(f.casefold() in case["answer"].casefold() for f in group) for group in case["facts"]), case["id"]


def test_own_questions_over_own_index(toy_index: Path, tmp_path: Path) -> None:
    (tmp_path / "beir").mkdir()
    queries = {"1": "Which port for gRPC?", "2": "small matrices of low rank", "3": "no judgement"}
    (tmp_path / "beir" / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": k, "text": v}) + "\n" for k, v in queries.items())
    )
    (tmp_path / "beir" / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\ttriton.md\t1\n2\tlora.md\t1\n")
    context = {"doc_id": "d", "text": "Zebra clusters have 96 nodes."}
    rows = [
        {
            "_id": "a",
            "text": "How many nodes has a Zebra cluster?",
            "contexts": [context],
            "answerable": True,
            "facts": [["96"]],
        },
        {"_id": "b", "text": "Who built the Zebra cluster?", "contexts": [context], "answerable": False},
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    letters = {
        "_id": "x",
        "text": "Which port takes gRPC at Triton?",
        "options": ["8000", "8001", "8002", "443"],
        "correct": 1,
    }
    (tmp_path / "exam.jsonl").write_text(json.dumps(letters) + "\n")

    def script(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        if "Which port takes" in asked:
            return next(line[0] for line in asked.splitlines() if line.endswith(") 8001"))
        return "A Zebra cluster has 96 nodes. [1]" if "How many" in asked else "NOT IN SOURCES"

    data = {
        "retrieval": tmp_path / "beir",
        "answers": tmp_path / "own.jsonl",
        "refusal": tmp_path / "own.jsonl",
        "exam": tmp_path / "exam.jsonl",
    }
    with model_server(script) as (url, _):
        bench = Bench(toy_index, ChatClient(Endpoint(base_url=url, model="scripted")), data=data)
        found = running.run([retrieval.SUITE, answers.ANSWERS, answers.REFUSAL, exam.SUITE], bench, tmp_path / "out")[
            "suites"
        ]
    value = {name: {k: v["value"] for k, v in suite["metrics"].items()} for name, suite in found.items()}
    assert found["retrieval"]["run"] == 2 and value["retrieval"]["reranked nDCG@10"] == 1.0
    assert value["refusal"]["refusal F1"] == 1.0 and value["refusal"]["over-refusal"] == 0.0
    assert value["answers"]["citation validity"] == 1.0 and value["answers"]["correct"] == 1.0
    assert value["exam"]["open book"] == value["exam"]["letter written"] == 1.0


def test_mistakes_are_said() -> None:
    with pytest.raises(ConfigError, match="no suite 'retrival'"):
        chosen(["retrival"])
    assert {s.name for s in chosen(["all"])} == SUITES.keys() - {"peers", "growth", "speed", "gpu", "mtrag-un"}
    from eval.__main__ import SUITE_NAMES

    assert SUITE_NAMES.split(", ") == list(SUITES)


def test_the_finetune_suite_reads_the_test_split(tmp_path: Path) -> None:
    cases = finetune.SUITE.cases(_bench(tmp_path))
    assert {c["group"] for c in cases} == {"tutor", "exam"} and len(cases) > 200
    assert finetune.SUITE.worst(cases[0]).keys() <= {"exam", "refused", "to refuse"}
