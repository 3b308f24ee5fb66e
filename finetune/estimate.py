"""What a run will need, known before any of its weights load: parameters and steps counted, memory and time rehearsed.

What autograd keeps, what an allocator leaves as holes and what a library's buffers take follow no formula that holds from
one version or machine to the next. So the run is rehearsed instead: the same command trains a base of the same shape and
random weights for a few steps, over the longest rows and those of most supervised tokens. Of a large base only a few
layers are rehearsed: memory and time grow by the layer, and two depths give the rest.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import yaml

from core.errors import TrainingError
from core.types import wire
from finetune.config import FinetuneSettings
from finetune.dataset import Sample, Split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STEPS = 8
WHOLE = 10**9  # parameters up to which a base is rehearsed at full depth
_DEPTHS = (4, 10)
# Growth of a CPU's heap after the rehearsed steps, beyond what loading took: 1.07 to 1.13 in lora.yaml and qlora.yaml.
_HOLES = 1.08


@dataclass(frozen=True, slots=True)
class Estimate:
    """Parameters, optimizer steps, peak bytes of one process (CPU) or of its GPU, seconds of training without evaluations."""

    parameters: int
    trainable: int
    rows: int
    steps: int
    tokens: int
    supervised_tokens: int
    peak_bytes: int
    seconds: float


def estimate(settings: FinetuneSettings, folder: Path, tokenizer: PreTrainedTokenizerBase, split: Split) -> Estimate:
    """The estimate of a run over tokenised data. Reads the base's config.json, no weights.

    Raises TrainingError, with the rehearsal's own last line, where the run would not even start.
    """
    import torch

    from finetune.held_out import HeldOut
    from finetune.training import Rows

    rows = Rows(split.train, settings)
    model = _shape_of(settings, folder)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parameters = sum(p.numel() for p in model.parameters()) - trainable
    batches = math.ceil(len(rows) / settings.per_device_train_batch_size)
    per_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
    steps = settings.max_steps if settings.max_steps > 0 else math.ceil(per_epoch * settings.num_train_epochs)
    tokens = int(sum(map(len, split.train)) * steps / per_epoch)
    supervised = int(sum(s.trained for s in split.train) * steps / per_epoch)

    per_step = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    taken = _sample_of(rows.groups, per_step, min(1.0, steps / per_epoch))
    held_out = HeldOut(split.validation, tokenizer, settings).heaviest() if settings.watched else []
    layers = int(model.config.num_hidden_layers)
    depths = [layers] if parameters <= WHOLE else sorted({min(depth, layers) for depth in _DEPTHS})
    seen = [_rehearse(settings, folder, depth, taken, held_out) for depth in depths]
    # Loading, training and evaluating grow at rates of their own; the peak is the highest of the three at full depth.
    loading, *working, step = (_at(layers, depths, figures) for figures in zip(*seen, strict=True))
    peak = max(loading, *working)
    if steps > STEPS and not torch.cuda.is_available():
        peak += (_HOLES - 1) * (peak - loading)
    return Estimate(parameters, trainable, len(rows), steps, tokens, supervised, int(peak), step * steps)


def _sample_of(groups: Sequence[Sequence[Sample]], per_step: int, share: float) -> list[Sample]:
    """The longest rows, a step's worth, and for more steps those of most supervised tokens that a run meets.

    Logits are the largest tensors, and there are as many as supervised tokens. A run over a `share` of the rows will meet
    the longest, for packed ones are nearly all as long, but hardly the one row of most supervised tokens.
    """
    longest = sorted(groups, key=lambda group: -sum(map(len, group)))[:per_step]
    rest = sorted(groups, key=lambda group: -sum(s.trained for s in group))
    apart = int(1 / share)
    met = rest[apart - 1 :: apart]
    return [s for group in [*longest, *(g for g in met if g not in longest)][: STEPS * per_step] for s in group]


def _at(layers: int, depths: Sequence[int], figures: Sequence[float]) -> float:
    """The line through two depths' figures, at the base's own depth, which may be one of them."""
    if len(depths) == 1:
        return figures[0]
    slope = max(0.0, (figures[1] - figures[0]) / (depths[1] - depths[0]))
    return figures[1] + slope * (layers - depths[1])


def _rehearse(
    settings: FinetuneSettings, folder: Path, layers: int, train: Sequence[Sample], validation: Sequence[Sample]
) -> tuple[float, float, float, float]:
    """A run on the base cut to some layers: peak bytes up to training, in training, in the evaluation; seconds a step."""
    with tempfile.TemporaryDirectory(prefix="genl-rehearsal-") as name:
        at = Path(name)
        _shallow(settings, folder, layers, at / "base")
        _write_rows(at / "train.jsonl", train)
        changed = settings.model_dump(mode="json") | {
            "model_name_or_path": str(at / "base"),
            "datasets": [str(at / "train.jsonl")],
            "eval_datasets": [],
            "val_size": 0,
            "max_samples": None,
            "max_eval_samples": None,
            "output_dir": str(at / "run"),
            "max_steps": STEPS,
            "logging_steps": 1,
            "eval_steps": STEPS // 2,  # what an evaluation leaves behind is there in the steps after it
            "save_steps": STEPS // 2,
            "load_best_model_at_end": False,
            "metric_for_best_model": "eval_loss",
            "early_stopping_patience": None,
            "resume_from_checkpoint": True,
        }
        if validation:
            _write_rows(at / "validation.jsonl", validation)
            changed["eval_datasets"] = [str(at / "validation.jsonl")]
        (at / "rehearsal.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
        ran = subprocess.run(
            [sys.executable, "-m", "finetune", "--config", str(at / "rehearsal.yaml")], capture_output=True, text=True
        )
        if ran.returncode != 0:
            last = (ran.stderr.strip().splitlines() or ["no output"])[-1]
            raise TrainingError(f"a rehearsal with {layers} layers failed: {last.removeprefix('error: ')}")
        facts = json.loads((at / "run" / "run.json").read_text(encoding="utf-8"))
        lines = [json.loads(line) for line in (at / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    trained = [line for line in lines if "loss" in line]
    evaluated = [line["peak_memory_bytes"] for line in lines if "eval_loss" in line]
    per_step = median(b["time"] - a["time"] for a, b in pairwise(trained))
    in_training = max(line["peak_memory_bytes"] for line in trained)
    return facts["loading_memory_bytes"], in_training, max(evaluated, default=0), per_step


def _shallow(settings: FinetuneSettings, folder: Path, layers: int, out: Path) -> None:
    """A base of the same shape with random weights and few layers, with the same tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from finetune.model import choose_dtype

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    config.num_hidden_layers = layers
    for per_layer in ("layer_types", "no_rope_layers"):
        if isinstance(getattr(config, per_layer, None), list):
            setattr(config, per_layer, getattr(config, per_layer)[:layers])
    torch.manual_seed(settings.seed)
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(config, "dtype", None) or choose_dtype(settings))
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(out)


def _write_rows(path: Path, samples: Sequence[Sample]) -> None:
    def lines() -> Iterator[str]:
        for sample in samples:
            yield json.dumps({"messages": wire(sample.row.messages)} | dict(sample.row.extra)) + "\n"

    path.write_text("".join(lines()), encoding="utf-8")


def _shape_of(settings: FinetuneSettings, folder: Path) -> Any:
    """The base with its LoRA matrices on the meta device, where tensors have shapes and no contents."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from finetune.model import attach

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        model.requires_grad_(False)
        return attach(model, settings.model_copy(update={"load_in_4bit": False}))
