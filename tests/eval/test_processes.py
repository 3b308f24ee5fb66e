"""`python -m eval run` as a process: killed in the middle and started again, and left by its endpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from core.paths import ROOT
from eval import compare
from tests.wire import model_server

COUNT = 20


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [
        {
            "_id": f"q{n}",
            "text": f"Which port takes gRPC at Triton? ({n})",
            "answerable": n % 2 == 0,
            "facts": [["8001"]],
        }
        for n in range(COUNT)
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "own.jsonl"


def _script(body: dict[str, Any]) -> str:
    time.sleep(0.1)
    number = int(body["messages"][-1]["content"].rsplit("(", 1)[1].split(")")[0])
    return "NOT IN SOURCES" if number % 3 == 0 else "Triton serves gRPC on port 8001. [1]"


def _start(url: str, index: Path, questions: Path, out: Path, *given: str) -> subprocess.Popen[str]:
    command = ["run", "refusal", "answers", "retrieval", "--model", url, "--index", str(index), "--out", str(out)]
    data = [f"--data={suite}={questions}" for suite in ("refusal", "answers")]
    beir = out.parent / "beir"
    beir.mkdir(exist_ok=True)
    (beir / "queries.jsonl").write_text('{"_id": "1", "text": "Which port for gRPC?"}\n')
    (beir / "qrels.tsv").write_text("1\ttriton.md\t1\n")
    return subprocess.Popen(
        [sys.executable, "-m", "eval", *command, *data, f"--data=retrieval={beir}", *given],
        cwd=ROOT, env={**os.environ, "GENL_VAR": str(out.parent / "var")}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _kept(out: Path) -> int:
    path = out.parent / "var" / "eval" / "answers.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def _until_kept(process: subprocess.Popen[str], out: Path, count: int) -> None:
    end = time.monotonic() + 120
    while _kept(out) < count:
        assert process.poll() is None and time.monotonic() < end, process.communicate()[1]
        time.sleep(0.01)


def test_kill_9_in_the_middle_and_again_gives_the_same_numbers(
    toy_index: Path, questions: Path, tmp_path: Path
) -> None:
    with model_server(_script) as (url, requests):
        first = _start(url, toy_index, questions, tmp_path / "a")
        _until_kept(first, tmp_path / "a", 6)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        kept = _kept(tmp_path / "a")
        assert 6 <= kept < COUNT
        requests.clear()
        again = _start(url, toy_index, questions, tmp_path / "a")
        assert "Error" not in again.communicate(timeout=120)[1] and again.returncode == 0
        assert len(requests) <= COUNT - kept + 1  # the one in flight at the kill may have been written or not
        whole = _start(url, toy_index, questions, tmp_path / "b", "--fresh")
        whole.communicate(timeout=120)
    resumed, fresh = (compare.read(tmp_path / name)["suites"] for name in ("a", "b"))
    for name in ("refusal", "answers", "retrieval"):
        assert resumed[name]["metrics"] == fresh[name]["metrics"] and resumed[name]["groups"] == fresh[name]["groups"]
        assert resumed[name]["run"] == resumed[name]["cases"] and not resumed[name]["note"]


def test_an_endpoint_that_dies_leaves_its_part_of_the_report_and_exit_1(
    toy_index: Path, questions: Path, tmp_path: Path
) -> None:
    with model_server(_script) as (url, _):
        process = _start(url, toy_index, questions, tmp_path / "a")
        _until_kept(process, tmp_path / "a", 6)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 1 and "note: ended early" in said and "Traceback" not in said
    found = compare.read(tmp_path / "a")["suites"]
    assert (
        6 <= found["refusal"]["run"] < COUNT
        and found["refusal"]["metrics"]["refusal F1"]["n"] == found["refusal"]["run"]
    )
    assert "not run" in found["answers"]["note"] and found["retrieval"]["run"] == 1
    page = (tmp_path / "a" / "report.html").read_text()
    assert f"ended early, {found['refusal']['run']} of {COUNT} cases" in page and "not run" in page
