"""A real sweep of two toy trials, begun again after a kill; mistakes told in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from core.config import load
from core.errors import ConfigError
from core.paths import ROOT
from finetune.sweep import SweepSettings, sweep


def _config(tmp_path: Path, chat_model: Path, rows: Path, trials: int) -> Path:
    values = {
        "config": "lora.yaml",
        "overrides": [
            f"model_name_or_path={chat_model}", f"datasets=[{rows}]", "eval_datasets=[]", "val_size=0.1", "max_length=128",
            "max_steps=2", "eval_steps=2", "save_steps=2", "eval_generations=0", "report_to=[]",
        ],
        "search": {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}, "lora_r": {"choices": [2, 4]}},
        "trials": trials,
        "output_dir": str(tmp_path / "sweep"),
    }  # fmt: skip
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_sweep_finds_a_best_and_goes_on(tmp_path: Path, chat_model: Path, rows: Path) -> None:
    import optuna

    ran = subprocess.run(
        [sys.executable, "-m", "finetune", "sweep", "--config", str(_config(tmp_path, chat_model, rows, 1))],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    # As a kill would leave it: one trial asked for and never told.
    storage = f"sqlite:///{tmp_path / 'sweep' / 'study.db'}"
    study = optuna.load_study(study_name="sweep", storage=storage)
    lost = study.ask()
    lost.suggest_float("learning_rate", 0.001, 0.1, log=True), lost.suggest_categorical("lora_r", [2, 4])
    settings = load(SweepSettings, _config(tmp_path, chat_model, rows, 2))
    best = yaml.safe_load(sweep(settings).read_text())
    study = optuna.load_study(study_name="sweep", storage=storage)
    finished = [t for t in study.trials if t.state.name == "COMPLETE"]
    assert len(finished) == 2 and finished[1].params == lost.params
    assert best["lora_r"] == study.best_params["lora_r"]
    assert len(list((tmp_path / "sweep").glob("trial-*/adapter"))) == 2


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"learning_rat": {"low": 0.1, "high": 0.2}}, "did you mean learning_rate"),
        ({"lora_rank": {"choices": [1]}}, "lora_rank is lora_r here"),
        ({"lora_r": {"low": 8, "high": 4}}, "must be below high"),
        ({"lora_r": {"low": 8}}, "give either choices, or low and high"),
    ],
)
def test_mistakes(tmp_path: Path, search: dict[str, object], says: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"search": search, "output_dir": str(tmp_path / "out")}))
    with pytest.raises(ConfigError, match=says):
        sweep(load(SweepSettings, path))
    assert not (tmp_path / "out").exists()
