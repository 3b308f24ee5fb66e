"""Sweeps: one YAML says which settings to try between which bounds; optuna draws, every trial is a run of its own.

The study is kept in `study.db` beside its runs, so a killed sweep goes on where it was: its unfinished trial is drawn
again and resumes from its last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field, model_validator

from core.config import Settings, load
from core.errors import ConfigError, TrainingError
from finetune import run
from finetune.config import FinetuneSettings, Metric, find_config

if TYPE_CHECKING:
    from optuna import Study, Trial


class Span(Settings):
    """What one setting may be: `choices`, or from `low` to `high` (on a log scale with `log`; whole numbers stay whole)."""

    choices: tuple[Any, ...] = ()
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Span:
        if bool(self.choices) == (self.low is not None and self.high is not None):
            raise ValueError("give either choices, or low and high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self

    def draw(self, trial: Trial, name: str) -> Any:
        """A value for one trial."""
        if self.choices:
            return trial.suggest_categorical(name, list(self.choices))
        assert self.low is not None and self.high is not None
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


class SweepSettings(Settings):
    """A sweep: the config every trial starts from, overrides for all of them, and what is searched."""

    config: str = "lora.yaml"
    overrides: tuple[str, ...] = ()
    search: dict[str, Span] = Field(min_length=1)
    metric: Metric = "eval_loss"
    trials: int = Field(8, ge=1)
    seed: int = Field(0, ge=0)
    output_dir: Path = Path("runs/sweep")


def sweep(settings: SweepSettings) -> Path:
    """Runs what is left of the trials; the best trial's settings as `best.yaml`. Raises ConfigError, TrainingError."""
    import optuna

    check(settings)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="sweep",
        storage=_storage(settings),
        direction="minimize" if settings.metric == "eval_loss" else "maximize",
        sampler=optuna.samplers.TPESampler(seed=settings.seed),
        load_if_exists=True,
    )
    _same(settings, study)
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    while (done := len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))) < settings.trials:
        drawn = study.ask()
        given = {name: span.draw(drawn, name) for name, span in settings.search.items()}
        print(f"trial {done + 1} of {settings.trials}: {_shown(given)}", file=sys.stderr, flush=True)
        value = _run(settings, given)
        study.tell(drawn, value)
        print(f"  {settings.metric} {value:.4f}, best so far {study.best_value:.4f}", file=sys.stderr, flush=True)
    best = settings.output_dir / "best.yaml"
    best.write_text((_folder(settings, study.best_params) / "settings.yaml").read_text(encoding="utf-8"))
    return best


def table(settings: SweepSettings) -> list[tuple[float, str]]:
    """Value and drawn settings of every finished trial, best first."""
    import optuna

    study = optuna.load_study(study_name="sweep", storage=_storage(settings))
    rows = [
        (float(trial.value or 0.0), _shown(trial.params))
        for trial in study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    ]
    return sorted(rows, reverse=settings.metric != "eval_loss")


def check(settings: SweepSettings) -> None:
    """ConfigError unless every searched key is a setting, and the first values of each span make a config that loads."""
    first = {name: span.choices[0] if span.choices else span.low for name, span in settings.search.items()}
    load(FinetuneSettings, find_config(settings.config), _overrides(settings, first))


def _storage(settings: SweepSettings) -> str:
    return f"sqlite:///{settings.output_dir.resolve() / 'study.db'}"


def _same(settings: SweepSettings, study: Study) -> None:
    wanted = settings.model_dump(mode="json", exclude={"trials", "output_dir"})
    before = study.user_attrs.get("settings")
    if before is not None and before != wanted:
        raise ConfigError(f"{settings.output_dir}: holds a sweep with other settings. Choose another output_dir")
    study.set_user_attr("settings", wanted)


def _run(settings: SweepSettings, given: Mapping[str, Any]) -> float:
    """One trial in a process of its own: memory is given back, and a crash ends the trial alone."""
    folder = _folder(settings, given)
    command = [sys.executable, "-m", "finetune", "--config", str(find_config(settings.config))]
    command += [*_overrides(settings, given), f"output_dir={folder}"]
    ran = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        raise TrainingError(f"{folder}: the trial failed: {last}. Run the sweep again to go on")
    value = run.read(folder)["best_metric"]
    if value is None:
        raise TrainingError(f"{folder}: the trial was never evaluated: set eval_steps and save_steps below its steps")
    return float(value)


def _overrides(settings: SweepSettings, given: Mapping[str, Any]) -> list[str]:
    drawn = [f"{name}={json.dumps(value)}" for name, value in given.items()]
    return [*settings.overrides, f"metric_for_best_model={settings.metric}", *drawn]


def _folder(settings: SweepSettings, given: Mapping[str, Any]) -> Path:
    """Named by what was drawn: the same draw finds its run again."""
    name = hashlib.sha256(json.dumps(dict(given), sort_keys=True).encode()).hexdigest()[:10]
    return settings.output_dir / f"trial-{name}"


def _shown(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={yaml.safe_dump(v).split(chr(10))[0]}" for k, v in given.items())
