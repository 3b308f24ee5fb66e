"""Runs that are killed, cut off or repeated; comparisons that see what was planted and nothing else; reports that stand alone."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ir_measures
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, nDCG

from agents.errors import AgentError
from core.errors import ConfigError, DocumentError, ServingError
from core.paths import CORPUS, ROOT
from eval import compare, golden, report, running
from eval.judge import prompt_sha256 as judge_prompt
from eval.metrics import f1
from eval.suite import Bench, Case, Metric, Row, Suite, metric
from eval.suites import SUITES, answers, chosen, claims, exam, finetune, retrieval
from rag.documents import load_sources
from rag.retriever import STAGES
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
    assert found["suites"]["toy"]["kept"] == 25 and whole["suites"]["toy"]["kept"] == 0
    report.write(tmp_path / "a")
    assert "25 of 40 cases kept from a run before" in (tmp_path / "a" / "report.html").read_text()
    assert [r["id"] for r in compare.rows(tmp_path / "a", "toy")] == [f"c{n}" for n in range(40)]
    jsonschema.validate(found, SCHEMA)


def test_what_fails_counts_as_failure(tmp_path: Path) -> None:
    def run(case: Case) -> Row:
        if case["id"] in ("c1", "c3"):
            raise AgentError("too long")
        return _scored(1.0)(case)

    found = running.run([_suite(run, 10)], _bench(tmp_path), tmp_path / "a")["suites"]["toy"]
    assert found["errors"] == 2 and found["metrics"]["right"]["value"] == 0.8 and found["metrics"]["right"]["n"] == 10
    odd, even = (found["groups"][name] for name in ("odd", "even"))
    assert odd["cases"] == 5 and odd["metrics"]["right"]["value"] == 0.6 and even["metrics"]["right"]["value"] == 1.0
    assert odd["metrics"]["right"]["low"] < 0.6 < odd["metrics"]["right"]["high"] and odd["metrics"]["right"]["n"] == 5
    assert "2 cases could not be run" in report.write(tmp_path / "a")
    assert "2 cases could not be run" in (tmp_path / "a" / "report.html").read_text()


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


def test_an_endpoint_that_dies_between_two_suites_is_said_too(tmp_path: Path) -> None:
    client = ChatClient(Endpoint(base_url="http://127.0.0.1:9/v1", model="m"))
    alive = True

    def card() -> dict[str, Any]:
        if not alive:
            raise ServingError("cannot be reached")
        return {"id": "m"}

    def last(case: Case) -> Row:
        nonlocal alive
        alive = False
        return _scored(1.0)(case)

    client.card = card  # type: ignore[method-assign]
    asking = _suite(_scored(1.0), name="asking", needs=frozenset({"model"}))
    found = running.run([_suite(last), asking], Bench(tmp_path / "no-index", client), tmp_path / "a")["suites"]
    assert found["toy"]["run"] == 40 and found["asking"]["run"] == 0 and "cannot be reached" in found["asking"]["note"]


def test_a_wrong_file_is_told_before_the_first_case(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text("{}\n")
    asked: list[Case] = []
    bench = _bench(tmp_path, data={"exam": tmp_path / "own.jsonl"})
    with pytest.raises(DocumentError, match=r"own\.jsonl"):
        running.run([_suite(asked.append), SUITES["exam"]], bench, tmp_path / "a")  # type: ignore[arg-type]
    assert not asked


def test_measurements_are_taken_one_at_a_time(tmp_path: Path) -> None:
    busy = threading.Lock()

    def run(case: Case) -> Row:
        assert busy.acquire(blocking=False), "two at a time"
        time.sleep(0.002)
        busy.release()
        return _scored(1.0)(case)

    bench = _bench(tmp_path, concurrency=8)
    assert running.run([_suite(run, repeats=True)], bench, tmp_path / "a")["suites"]["toy"]["run"] == 40
    report.write(tmp_path / "a")
    assert "8 cases in flight" in (tmp_path / "a" / "report.html").read_text()


def test_kept_rows_never_cross_a_change_of_model_index_or_options(tmp_path: Path) -> None:
    runs: list[str] = []

    def run(case: Case) -> Row:
        runs.append(str(case["id"]))
        return _scored(1.0)(case)

    asking = _suite(run, 5, needs=frozenset({"model", "index"}), takes=frozenset({"judge", "rotations"}))
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
        judge = ChatClient(Endpoint(base_url=other, model="scripted"))
        assert [counted(one, judge=judge), counted(one, judge=judge), counted(one)] == [5, 0, 0]
        assert counted(one, options={"rotations": 2}) == 5
        assert counted(one, options={"skip": ["x"]}) == 0  # of no concern to these rows
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
    assert alarms == 0
    with pytest.raises(ConfigError, match="no result of a run there"):
        compare.compare(suites, tmp_path / "nowhere", tmp_path / "again")


def test_few_cases_show_no_difference_and_a_figure_of_one_side_is_left_out(tmp_path: Path) -> None:
    suites = {"toy": _suite(_scored(1.0), 6)}
    running.run([suites["toy"]], _bench(tmp_path), tmp_path / "before", fresh=True)
    running.run([_suite(_scored(0.0), 6)], _bench(tmp_path), tmp_path / "after", fresh=True)
    # All six fell. By luck that is one in 32, and two figures were looked at.
    (fell, *_) = compare.compare(suites, tmp_path / "before", tmp_path / "after")
    assert fell.change == -1 and fell.high < 0 and fell.verdict == "no difference shown"
    measured = {"toy": replace(suites["toy"], repeats=True)}
    assert compare.compare(measured, tmp_path / "before", tmp_path / "after")[0].verdict == "worse"

    def half(case: Case) -> Row:
        row = _scored(1.0)(case)
        return row | {"scores": {"given": 1.0, "wanted": 1.0} | ({"right": 1.0} if case["group"] == "even" else {})}

    running.run([_suite(half, 6)], _bench(tmp_path), tmp_path / "half", fresh=True)
    found = {d.metric: d for d in compare.compare(suites, tmp_path / "half", tmp_path / "after")}
    assert found["right"].n == 3 and found["right"].before == 1 and found["F1"].n == 6


def test_a_result_of_another_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"schema": 1, "suites": {}}')
    with pytest.raises(ConfigError, match="of form 1, not 2"):
        report.write(tmp_path)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 2), min_size=1, max_size=3),
            st.permutations(["a", "b", "c", "d e", "f#1", "g"]),
        ),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_exported_rankings_score_as_ir_measures_has_them(queries: list[tuple[dict[str, int], list[str]]]) -> None:
    class Search:
        def __init__(self, names: list[str]) -> None:
            self.stages = {stage: [SimpleNamespace(chunk=SimpleNamespace(doc_id=n)) for n in names] for stage in STAGES}

    ranked = {f"q {n}": names for n, (_, names) in enumerate(queries)}
    bench = SimpleNamespace(
        retriever=SimpleNamespace(documents=dict, search=lambda question, **_: Search(ranked[question]))
    )
    one = retrieval.prepare(bench)  # type: ignore[arg-type]
    cases = [
        {"id": f"q {n}", "group": "all", "question": f"q {n}", "relevant": {k: float(v) for k, v in relevant.items()}}
        for n, (relevant, _) in enumerate(queries)
    ]
    rows = [{"id": case["id"], "group": "all", **one(case)} for case in cases]
    files = retrieval.trec(rows)
    qrels = list(ir_measures.read_trec_qrels(files["qrels.txt"]))
    run = list(ir_measures.read_trec_run(files["reranked.trec"]))
    theirs = ir_measures.calc_aggregate([nDCG @ 10, R @ 1, R @ 5, RR @ 10], qrels, run)
    ours = {m.name: float(m.statistic(m.values(rows))) for m in retrieval.SUITE.metrics if m.stage == "reranked"}
    for name, measure in (("nDCG@10", nDCG @ 10), ("R@1", R @ 1), ("R@5", R @ 5), ("MRR@10", RR @ 10)):
        assert ours[f"reranked {name}"] == pytest.approx(theirs[measure], abs=1e-6), name


def test_a_report_stands_alone_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evil(case: Case) -> Row:
        return {
            "scores": {"right": 0.0, "given": 0.0, "wanted": 1.0},
            "shown": {"question": EVIL, "answer": EVIL, "retrieved": [{"text": EVIL}]},
        }

    suite = _suite(evil, 12)
    monkeypatch.setitem(SUITES, "toy", suite)
    running.run([_suite(_scored(1.0), 12)], _bench(tmp_path), tmp_path / "before", fresh=True)
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
    assert (
        (tmp_path / "out" / "retrieval" / "reranked.trec")
        .read_text()
        .startswith("1 Q0 triton.md 1 1.000000 reranked\n")
    )
    assert value["refusal"]["refusal F1"] == 1.0 and value["refusal"]["over-refusal"] == 0.0
    assert value["answers"]["citation validity"] == 1.0 and value["answers"]["correct"] == 1.0
    assert value["exam"]["open book"] == value["exam"]["letter written"] == 1.0


def test_a_judge_of_its_own_reads_every_factual_sentence_and_is_held_against_labels(
    toy_index: Path, tmp_path: Path
) -> None:
    """Three sentences: one cited and supported, one cited and not, one that is in no source and that a passage contradicts."""
    text = (
        "LoRA freezes the base model and trains two small matrices of rank r beside each weight matrix. "
        "A LoRA adapter can be merged into the base weights, after which inference costs nothing extra. "
        "Zebras were painted yellow by seventeen accountants."
    )
    row = {"_id": "a", "text": "What does LoRA freeze?", "answerable": True, "facts": [["freezes"]]}
    (tmp_path / "own.jsonl").write_text(json.dumps(row) + "\n")
    labels = [
        {
            "kind": "k",
            "id": str(n),
            "claim": f"Claim {n}",
            "quote": "A passage.",
            "note": "Note",
            "supported": n % 2 == 0,
        }
        for n in range(20)
    ]
    (tmp_path / "claims.jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))

    def judging(body: dict[str, Any]) -> str:
        statement = body["messages"][-1]["content"].split("Statement: ")[1].split("\n")[0]
        if "contradict" in body["messages"][-1]["content"]:
            return "Yes" if "Zebras" in statement else "No"
        if statement.startswith("Claim"):
            return "Yes" if int(statement.split()[1]) % trusted == 0 else "No"
        return "Yes" if "freezes" in statement else "No"

    data = {"answers": tmp_path / "own.jsonl", "claims": tmp_path / "claims.jsonl"}
    found = {}
    with model_server(lambda body: text) as (url, asked), model_server(judging) as (judge_url, _):
        client, judge = (ChatClient(Endpoint(base_url=u, model="scripted")) for u in (url, judge_url))
        for trusted in (2, 3):  # agrees with the labels, or hardly
            bench = Bench(toy_index, client, judge=judge, data=data)
            out = tmp_path / str(trusted)
            found[trusted] = running.run([claims.SUITE, answers.ANSWERS], bench, out, fresh=True)
            assert f"at {judge_url}, prompt {judge_prompt()[:12]}" in (
                report.write(out) and (out / "report.html").read_text()
            )
        assert len(asked) == 2  # the model under test judged nothing
    for trusted, result in found.items():
        jsonschema.validate(result, SCHEMA)
        figures = result["suites"]["answers"]["metrics"]
        assert figures["groundedness (judged)"]["value"] == pytest.approx(1 / 3)
        assert figures["contradictions (judged)"]["value"] == pytest.approx(1 / 3)
        assert figures["citation recall (ALCE, judged)"]["value"] == pytest.approx(1 / 3)
        assert figures["citation precision (ALCE, judged)"]["value"] == pytest.approx(1 / 2)
        assert all(f["headline"] is (trusted == 2) for name, f in figures.items() if "judged" in name)
    assert "not trusted: none of its figures is a headline" in (tmp_path / "3" / "summary.md").read_text()
    assert "κ with labels 1.000 [1.000, 1.000], trusted" in (tmp_path / "2" / "summary.md").read_text()


@pytest.mark.parametrize(
    ("suite", "row", "told"),
    [
        ("claims", {"id": "c", "kind": "k", "claim": "x", "quote": "y", "note": "z", "supported": "yes"}, "`supported` must be a bool"),
        ("agent-tasks", {"id": "t", "kind": "k", "turns": ["x"], "checks": [{"type": "contains"}]}, "a check cannot be run .*unknown check"),
        ("attacks", {"id": "t", "kind": "k", "turns": ["x"], "checks": [{"type": "refused", "turn": 3}]}, "a check cannot be run"),
        ("answers", {"_id": "a", "text": "Why?"}, "`answerable` must be true or false"),
        ("exam", {"text": "Why?", "options": ["a", "b", "c", "d"], "correct": 4}, "not a question"),
        ("bank", {"text": "Why?", "options": ["a", "b", "c", "d"], "correct": 1, "domain": 9}, "a domain from 1 to 5"),
    ],
)  # fmt: skip
def test_own_rows_that_are_wrong_are_told_by_line(tmp_path: Path, suite: str, row: Row, told: str) -> None:
    (tmp_path / "own.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DocumentError, match=f"own.jsonl:1: .*{told}"):
        SUITES[suite].cases(_bench(tmp_path, data={suite: tmp_path / "own.jsonl"}))


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
