"""Real training of a toy model: it learns, a killed run goes on exactly, a broken checkpoint is passed over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.paths import ROOT
from tests.finetune import forked

BASE = (
    "max_length=128",
    "gradient_accumulation_steps=2",
    "eval_steps=4",
    "save_steps=4",
    "max_steps=16",
    "learning_rate=0.01",
    "report_to=[]",
)


def _command(chat_model: Path, rows: Path, out: Path, *more: str) -> list[str]:
    given = (f"model_name_or_path={chat_model}", f"datasets=[{rows}]", "eval_datasets=[]", "val_size=0.1")
    return [sys.executable, "-m", "finetune", "--config", "lora.yaml", *given, *BASE, f"output_dir={out}", *more]


def _train(chat_model: Path, rows: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return forked.run(_command(chat_model, rows, out, *more))


def _losses(out: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in lines if "loss" in row}


@pytest.fixture(scope="module")
def whole(chat_model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    ran = _train(chat_model, rows, out, "lora_dropout=0.1")
    assert ran.returncode == 0, ran.stderr
    return out


def test_a_run_learns_and_leaves_everything(whole: Path) -> None:
    losses = _losses(whole)
    assert sorted(losses) == list(range(1, 17))
    assert losses[16] < losses[1] - 0.5
    facts = json.loads((whole / "run.json").read_text())
    assert facts["steps"] == 16 and len(facts["data_sha256"]) == 64 and facts["libraries"]["peft"] != "absent"
    for name in ("settings.yaml", "curves.png", "adapter/adapter_model.safetensors", "adapter/README.md"):
        assert (whole / name).stat().st_size > 0
    assert "| step | eval_loss |" in (whole / "adapter/README.md").read_text()


def test_killed_and_started_again_gives_the_very_same_losses(
    whole: Path, chat_model: Path, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    child = subprocess.Popen(
        _command(chat_model, rows, out, "lora_dropout=0.1"),
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (out / "checkpoint-4" / "whole.json").exists():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    done = max(_losses(out))
    assert done < 16
    # The newest checkpoint is made to look as if the kill had hit its writing.
    newest = max(out.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    (newest / "adapter_model.safetensors").write_bytes(b"half")
    ran = _train(chat_model, rows, out, "lora_dropout=0.1")
    assert ran.returncode == 0, ran.stderr
    assert "adapter_model.safetensors is damaged" in ran.stderr
    assert _losses(out) == _losses(whole)
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and steps.count(16) == 3  # the loss, the evaluation and the summary, once each


def test_a_run_of_other_settings_is_not_overwritten(whole: Path, chat_model: Path, rows: Path) -> None:
    ran = _train(chat_model, rows, whole, "lora_dropout=0.1", "lora_r=4")
    assert ran.returncode == 2
    assert "holds a run with other settings (lora_r)" in ran.stderr and ran.stderr.count("\n") == 1


def test_two_processes_take_the_same_steps_as_one(chat_model: Path, rows: Path, tmp_path: Path) -> None:
    given = ("max_steps=4", "max_grad_norm=0", "gradient_accumulation_steps=2")
    alone = _train(chat_model, rows, tmp_path / "one", *given)
    assert alone.returncode == 0, alone.stderr
    command = _command(chat_model, rows, tmp_path / "two", *given[:2], "gradient_accumulation_steps=1")
    both = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command[1:]],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("steps in") == 1
    one, two = _losses(tmp_path / "one"), _losses(tmp_path / "two")
    assert list(two) == [1, 2, 3, 4] and list(two.values()) == pytest.approx(list(one.values()), rel=1e-3)


def test_overfitting_is_stopped(chat_model: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "over"
    ran = _train(
        chat_model, rows, out, "max_steps=200", "eval_steps=5", "save_steps=5", "early_stopping_patience=2",
        "learning_rate=0.05", "max_samples=6",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    facts = json.loads((out / "run.json").read_text())
    assert facts["steps"] < 200
    evaluations = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    best = min(row["eval_loss"] for row in evaluations if "eval_loss" in row)
    assert facts["best_metric"] == pytest.approx(best)
