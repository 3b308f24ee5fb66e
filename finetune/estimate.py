"""What a run will need, worked out before any weights load: parameters, steps, peak memory, time.

Activations are not guessed by formula: the very model, with its LoRA matrices, runs one forward pass of the largest row
on PyTorch's meta device, where tensors have shapes and no contents, and every tensor that autograd would keep is counted.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune import packing
from finetune.config import FinetuneSettings
from finetune.dataset import IGNORED, Sample, Split

if TYPE_CHECKING:
    import torch

_ADAM_STATES = 2
_NF4_BYTES = 0.5 + 4 / 64  # 64 weights share one float32 scale
_NF4_NESTED_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # … or one of 8 bits, whose scale 256 blocks share
_EFFICIENCY = 0.6  # of a plain matrix product's rate: attention, norms and activations take the rest
_GRADIENT_PASSES = 4  # 2N forward, 2N backward: frozen weights get no gradients of their own


@dataclass(frozen=True, slots=True)
class Estimate:
    """Parameters, optimizer steps, peak bytes of the process (CPU) or of the GPU, and seconds of training."""

    parameters: int
    trainable: int
    rows: int
    steps: int
    tokens: int
    supervised_tokens: int
    peak_bytes: int
    seconds: float


def estimate(settings: FinetuneSettings, folder: Path, split: Split) -> Estimate:
    """The estimate of a run over tokenised data. Reads the base's config.json, no weights."""
    from finetune.model import choose_dtype
    from finetune.training import Rows

    rows = Rows(split.train, settings)
    model = _shape_of(settings, folder)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parameters = sum(p.numel() for p in model.parameters()) - trainable
    batches = math.ceil(len(rows) / settings.per_device_train_batch_size)
    per_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
    steps = settings.max_steps if settings.max_steps > 0 else math.ceil(per_epoch * settings.num_train_epochs)
    # The largest row there can be: the longest groups together.
    largest = sorted(rows.groups, key=lambda group: -sum(map(len, group)))[: settings.per_device_train_batch_size]
    saved, logits = _kept(model, [sample for group in largest for sample in group])
    dtype = choose_dtype(settings)
    weights, transient = _weight_bytes(model, settings, dtype)
    peak = weights + trainable * 4 * (2 + _ADAM_STATES) + saved + 2 * logits + transient + _process_bytes()
    epochs = steps / per_epoch
    tokens = int(sum(map(len, split.train)) * epochs)
    supervised = int(sum(s.trained for s in split.train) * epochs)
    flops = _GRADIENT_PASSES * parameters * tokens * (1.5 if settings.gradient_checkpointing else 1)
    return Estimate(
        parameters,
        trainable,
        len(rows),
        steps,
        tokens,
        supervised,
        int(peak),
        flops / (_EFFICIENCY * matmul_flops(dtype)),
    )


def _shape_of(settings: FinetuneSettings, folder: Path) -> Any:
    """The base with its LoRA matrices on the meta device."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from finetune.model import attach, choose_dtype

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=choose_dtype(settings), attn_implementation=packing.register()
        )
        model.requires_grad_(False)
        return attach(model, settings.model_copy(update={"load_in_4bit": False}))


def _kept(model: Any, samples: list[Sample]) -> tuple[int, int]:
    """Bytes autograd keeps of one forward pass over the samples in a row, and bytes of its float32 logits."""
    import torch
    from torch.nn import functional

    batch = packing.row(samples)
    targets = batch.pop("labels")[0, 1:]
    at = (targets != IGNORED).nonzero()[:, 0]
    own = {p.untyped_storage()._cdata for p in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and tensor.device.type == "meta":
            kept[storage._cdata] = storage.nbytes()
            alive.append(tensor)  # a freed storage's address would be used again
        return tensor

    alive: list[torch.Tensor] = []
    inputs = {k: v.to("meta") if k in ("input_ids", "position_ids") else v for k, v in batch.items()}
    # Any mask of four dimensions keeps transformers from looking at the positions' values; `segments` does not read it.
    inputs["attention_mask"] = torch.empty((1, 1, 1, 1), device="meta")
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(**inputs, logits_to_keep=at.to("meta"), use_cache=False).logits[0].float()
        functional.cross_entropy(logits, targets[at].to("meta"), reduction="sum")
    return sum(kept.values()), logits.numel() * 4


def _weight_bytes(model: Any, settings: FinetuneSettings, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes of the frozen weights, and of what is unpacked of them at a time."""
    import torch

    width = torch.empty(0, dtype=dtype).element_size()
    linear = [
        m.weight.numel() for name, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and "lora_" not in name and "lm_head" not in name
    ]  # fmt: skip
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    if not settings.load_in_4bit:
        return frozen * width, 0
    each = _NF4_NESTED_BYTES if settings.use_bnb_nested_quant else _NF4_BYTES
    return int(sum(linear) * each + (frozen - sum(linear)) * max(width, 4)), max(linear) * width


def _process_bytes() -> int:
    """What Python and its libraries take by themselves: measured now, with them loaded; nothing on a GPU."""
    import psutil
    import torch
    import transformers.trainer  # noqa: F401  (training will have it loaded)

    return 0 if torch.cuda.is_available() else int(psutil.Process().memory_info().rss)


def matmul_flops(dtype: torch.dtype, seconds: float = 0.5) -> float:
    """FLOP/s of matrix products of 1024 a side on the device that trains, measured."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (torch.randn(1024, 1024, device=device).to(dtype) for _ in range(2))
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        done += 1
    return done * 2 * 1024**3 / (time.perf_counter() - started)
