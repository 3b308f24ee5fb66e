"""The dry run's estimate of peak memory over what the run then takes, for LoRA and QLoRA."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from core.errors import TrainingError
from core.paths import ROOT
from finetune.benchmark import random_weights
from finetune.model import base_folder


def measure(toy: bool) -> dict[str, float]:
    """GiB estimated and measured, and their ratio."""
    base = random_weights("toy" if toy else "1.5B", base_folder("smollm2-135m-instruct"))
    found: dict[str, float] = {}
    for name, config in (("LoRA", "lora.yaml"), ("QLoRA", "qlora.yaml")):
        with tempfile.TemporaryDirectory(prefix="genl-memory-") as folder:
            out = Path(folder) / "run"
            given = [
                "--config", config, f"model_name_or_path={base}", "max_steps=4", "eval_steps=4", "save_steps=4",
                "report_to=[]", f"output_dir={out}", *(["max_length=128", "eval_generations=0", "max_eval_samples=4"] if toy else []),
            ]  # fmt: skip
            shown = re.search(r"peak memory +([\d.]+) GiB", _ran([*given, "--dry-run"]))
            if shown is None:
                raise TrainingError("the dry run told no peak memory")
            _ran(given)
            peak = json.loads((out / "run.json").read_text(encoding="utf-8"))["peak_memory_bytes"] / 2**30
            found |= {
                f"{name}, estimated GiB": float(shown[1]), f"{name}, measured GiB": peak,
                f"{name}, estimated ÷ measured": float(shown[1]) / peak,
            }  # fmt: skip
    return found


def _ran(arguments: list[str]) -> str:
    ran = subprocess.run([sys.executable, "-m", "finetune", *arguments], cwd=ROOT, capture_output=True, text=True)
    if ran.returncode:
        raise TrainingError(f"finetune failed: {' '.join(ran.stderr.split())[-400:]}")
    return ran.stdout
