"""The shape of the checkout: the README's tree is true, `--help` is quick, mistakes end with one line and exit code 2."""

from __future__ import annotations

import re
import resource
import subprocess
import sys

import pytest

from core.paths import CORPUS, ROOT
from rag.notes import check_notes

ROOMS = ("serving", "rag", "agents", "eval", "app", "finetune")


@pytest.mark.parametrize("room", ROOMS)
def test_help_is_quick(room: str) -> None:
    # Processor time, which does not depend on what else this machine does.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run([sys.executable, "-m", room, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert f"python -m {room}" in shown.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["rag", "search", "x", "--index", "nowhere"], "no index there"),
        (["rag", "build", "--source", "nowhere", "--index", "var/none"], "no such file or folder"),
        (
            ["rag", "build", "--source", "data", "--index", "var/none", "--set", "chunking.chunk_char=5"],
            "did you mean chunk_chars",
        ),
        (["rag", "search", "--index", "x"], "either a question or --queries"),
        (["rag", "ask", "x"], "--index DIR is needed"),
        (["rag", "nonsense"], "invalid choice"),
        (["serving", "pull", "qwen2.5-coder-1.5b"], "did you mean"),
        (["app", "--host", "0.0.0.0"], "add --auth"),
        (["app", "--auth", "nopassword"], "USER:PASSWORD"),
        (["app", "--agent", "nothing.yaml"], "nothing.yaml"),
        (["agents", "ask", "x", "--index", "nowhere"], "nowhere: no index there"),
        (["agents", "ask", "x", "--set", "limits.second=3"], "did you mean"),
        (["agents", "forget", "--set", "learners=/dev/null/x", "--set", "threads=/dev/null/x"], "/dev/null"),
        (["eval", "run", "agent-tasks", "--index", "nowhere", "--out", "x"], "nowhere: no index there"),
        (["finetune", "--config", "nothing.yaml"], "one of finetune/configs"),
        (["finetune", "--config", "lora.yaml", "cutoff_len=512"], "cutoff_len is max_length here"),
        (["finetune", "--config", "lora.yaml", "model_name_or_path=smollm"], "unknown model 'smollm'"),
        (["finetune", "--config", "lora.yaml", "datasets=[nowhere.jsonl]"], "nowhere.jsonl: no such file"),
        (["finetune", "merge", "runs/nowhere"], "not a run folder"),
        (["finetune", "publish", "runs/nowhere"], "not a run folder"),
        (["finetune", "rollback", "nobody"], "no such adapter is published"),
        (["eval", "run", "mtrag-un", "--out", "nowhere"], "mtrag-un has no cases of its own: --data mtrag-un=PATH"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command: list[str], says: str) -> None:
    ran = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert says in ran.stderr and ran.stderr.count("\n") == 1


def test_the_readme_s_tree_names_every_module_and_nothing_else() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^  ([a-z_]+\.(?:py|yaml|css|js))\b", readme, re.MULTILINE))
    rooms = re.findall(r"^(core|serving|rag|agents|eval|app|finetune)/", readme, re.MULTILINE)
    assert rooms == ["core", "serving", "rag", "agents", "eval", "app", "finetune"]
    there = {p.name for room in rooms for p in (ROOT / room).iterdir() if p.suffix in (".py", ".yaml", ".css", ".js")}
    assert named == there - {"__init__.py"}


def test_the_readme_s_make_commands_exist() -> None:
    readme, makefile = (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"chat", "test"} <= set(re.findall(r"(?:^|`)make ([a-z-]+)", readme, re.MULTILINE)) <= targets


def test_the_notes_keep_their_rules() -> None:
    report = check_notes(CORPUS)
    assert report.problems == ()
    assert report.notes >= 60
