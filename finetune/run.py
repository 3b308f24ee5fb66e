"""The run folder: what was asked, on which data and versions, what came of it. It is the registration of the adapter."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from core import files, provenance
from core.config import load
from core.errors import TrainingError
from finetune.config import EmbedderSettings, FinetuneSettings

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "numpy")
# Keys that may differ between a run and its resumption.
_FREE = {"resume_from_checkpoint", "report_to", "save_total_limit", "dataset_num_proc", "output_dir"}


def prepare(settings: FinetuneSettings | EmbedderSettings, data_sha256: str) -> Path:
    """Makes the folder with `settings.yaml` and `run.json`, or finds it as a run to resume.

    TrainingError where it holds a run with other settings or data; with `resume_from_checkpoint: false` such a folder is
    put aside instead.
    """
    folder = settings.output_dir
    if (folder / "settings.yaml").exists():
        if settings.resume_from_checkpoint is False:
            _put_aside(folder)
        else:
            _same(settings, data_sha256, folder)
            return folder
    elif folder.exists() and any(folder.iterdir()):
        raise TrainingError(f"{folder}: is not empty and not a run. Choose another: output_dir=runs/NAME")
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / "settings.yaml", yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    git_commit, changed = provenance.commit()
    facts = {
        "trains": "embedder" if isinstance(settings, EmbedderSettings) else "model",
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git_commit": git_commit,
        "git_changed": changed,
        "data_sha256": data_sha256,
        "seed": settings.seed,
        "libraries": provenance.versions(LIBRARIES),
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
    }
    files.write(folder / "run.json", json.dumps(facts, indent=1))
    return folder


def finish(folder: Path, results: Mapping[str, Any]) -> None:
    """Adds what came of it to `run.json`."""
    note(folder, {"finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")} | dict(results))


def note(folder: Path, facts: Mapping[str, Any]) -> None:
    """Adds facts to `run.json`."""
    files.write(folder / "run.json", json.dumps(read(folder) | dict(facts), indent=1))


def rewind(folder: Path, step: int) -> None:
    """Drops what `metrics.jsonl` says of steps after this one: the run takes them again."""
    path = folder / "metrics.jsonl"
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        files.write(path, "".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= step))


def read(folder: Path) -> dict[str, Any]:
    """`run.json` of a run; TrainingError where there is none."""
    try:
        facts: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TrainingError(f"{folder}: not a run folder. Runs there are: {', '.join(known()) or 'none yet'}") from None
    return facts


def settings_of(folder: Path) -> FinetuneSettings:
    """The resolved settings of a model's run; TrainingError for an embedder's."""
    if read(folder).get("trains") == "embedder":
        raise TrainingError(
            f"{folder}: trained an embedder, not a model. Index with it: python -m rag build --set dense.adapter={folder}/adapter"
        )
    return load(FinetuneSettings, folder / "settings.yaml")


def adapter_of(folder: Path) -> Path:
    """The trained adapter of a model's finished run; TrainingError where it is not finished."""
    settings_of(folder)
    adapter = folder / "adapter"
    if not (adapter / "adapter_model.safetensors").is_file():
        raise TrainingError(
            f"{folder}: has no finished adapter yet. Go on with it: python -m finetune --config {folder}/settings.yaml"
        )
    return adapter


def known() -> list[str]:
    """Run folders under runs/."""
    return sorted(str(p.parent) for p in Path("runs").glob("*/run.json"))


def _same(settings: FinetuneSettings | EmbedderSettings, data_sha256: str, folder: Path) -> None:
    before = load(type(settings), folder / "settings.yaml").model_dump(mode="json")
    now = settings.model_dump(mode="json")
    changed = [k for k in now if k not in _FREE and before.get(k) != now[k]]
    if changed:
        raise TrainingError(
            f"{folder}: holds a run with other settings ({', '.join(changed)}). Choose another output_dir=runs/NAME, or "
            "resume_from_checkpoint=false to put that run aside and begin anew"
        )
    if read(folder).get("data_sha256") != data_sha256:
        raise TrainingError(
            f"{folder}: the training data changed since this run began. Choose another output_dir=runs/NAME, or "
            "resume_from_checkpoint=false to put that run aside and begin anew"
        )


def _put_aside(folder: Path) -> None:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(aside)
