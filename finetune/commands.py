"""The commands behind `python -m finetune`: settings, data, model and run joined up, and what is printed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from core.config import load
from core.errors import DatasetError
from core.paths import CORPUS
from finetune.config import EmbedderSettings, FinetuneSettings, find_config, unservable


def train(config: str, overrides: Sequence[str], dry_run: bool) -> None:
    """Trains by a config, or shows what training would be."""
    settings = load(FinetuneSettings, find_config(config), overrides)
    for line in unservable(settings):
        print(f"note: {line}", file=sys.stderr)
    from finetune import dataset, memory, run

    memory.bound()
    from finetune.model import base_folder, load_tokenizer

    # The quick before the slow: a missing file or model is said before any library is imported.
    rows = dataset.read(settings)
    folder = base_folder(settings.model_name_or_path)
    tokenizer = load_tokenizer(folder)
    split = dataset.tokenized(rows, settings, tokenizer)
    if split.overlong:
        print(
            f"note: {len(split.overlong)} rows longer than max_length ({settings.max_length}) are left out, "
            f"the first is {split.overlong[0]}",
            file=sys.stderr,
        )
    _quiet()
    if dry_run:
        from finetune.preview import show

        show(settings, folder, tokenizer, split)
        return
    import torch
    from accelerate import PartialState

    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        run_folder = run.prepare(settings, split.sha256)
    _track(run_folder)
    from finetune.model import attach, load_base
    from finetune.training import train as fit

    started = time.monotonic()
    model = attach(load_base(settings, folder), settings)
    loading = memory.lap()
    trainer = fit(model, tokenizer, split, settings)
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()  # a process that exits with its group alive may abort in gloo's threads
    if not trainer.is_world_process_zero():
        return
    results = {
        "steps": trainer.state.global_step,
        "seconds": round(time.monotonic() - started, 1),
        "loading_memory_bytes": loading,
        "peak_memory_bytes": memory.peak(),
        "best_checkpoint": trainer.state.best_model_checkpoint,
        "best_metric": trainer.state.best_metric,
    }
    run.finish(run_folder, results)
    from finetune.card import write_card

    write_card(run_folder)
    print(
        f"{run_folder}/adapter: {results['steps']} steps in {results['seconds']:.0f} s, curves in {run_folder}/curves.png"
    )


def sweep(config: str, overrides: Sequence[str]) -> None:
    """Runs a sweep and prints its trials, best first."""
    from finetune import sweep as sweeping

    settings = load(sweeping.SweepSettings, find_config(config), overrides)
    best = sweeping.sweep(settings)
    for value, drawn in sweeping.table(settings):
        print(f"{settings.metric} {value:.4f}  {drawn}")
    print(f"{best}: the best settings. Train by them: python -m finetune --config {best} output_dir=runs/NAME")


def embedder(config: str, overrides: Sequence[str]) -> None:
    """Trains an embedder's adapter and says how to use it."""
    settings = load(EmbedderSettings, find_config(config), overrides)
    from finetune import pairs

    rows = pairs.read(settings)  # the quick before the slow
    _quiet()
    from finetune.embedder import train as fit

    adapter = fit(settings, rows)
    print(f"{adapter}: index with it by --set dense.adapter={adapter}")


def compose_data(out: Path, check: bool) -> None:
    """Writes data/sft's three files, or compares them with what would be written."""
    import json

    from finetune.tutoring import compose, write

    samples = compose(CORPUS, out / "originals")
    counts = ", ".join(f"{len(rows)} {split}" for split, rows in samples.items())
    if not check:
        write(samples, out)
        print(f"{out}: {counts}")
        return
    for split, rows in samples.items():
        path = out / f"{split}.jsonl"
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        if there != "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows):
            raise DatasetError(f"{path}: is not what the notes and originals give. Run: python -m finetune data")
    print(f"{out}: up to date ({counts})")


def _quiet() -> None:
    """The libraries' progress of loading weights and their advice are not the user's business."""
    import warnings

    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", module=r"(peft|torch|mlflow|transformers)\.")


def _track(folder: Path) -> None:
    """MLflow's database lies beside the runs, unless the environment names a tracking server."""
    import os

    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", "genl-tutor")
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{folder.resolve().parent / 'mlflow.db'}")
