"""An adapter folded into a 16-bit copy of its base, checked against the adapter's own logits before it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core import files
from core.errors import TrainingError
from finetune import run
from finetune.model import base_folder, load_tokenizer

_PROBES = ("What is the KV cache?", "Explain LoRA in two sentences.", "1 + 1 =")
LIMIT = 0.1  # of the logits' standard deviation: rounding weights to 16 bits gives about 0.02


def merge(folder: Path, out: Path | None = None) -> tuple[Path, float]:
    """Merges a run's adapter; the folder written, and the largest logit difference in standard deviations.

    A 4-bit base is merged into the 16-bit one: the rounding it trained with is then gone, so the difference is taken
    against the adapter on that same 16-bit base. TrainingError where merged and adapter disagree; nothing is kept then.
    """
    settings = run.settings_of(folder)
    adapter = run.adapter_of(folder)
    out = out or folder / "merged"
    if out.exists():
        raise TrainingError(f"{out}: already there. Remove it first, or choose another --out")
    base = base_folder(settings.model_name_or_path)
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(base)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True), str(adapter)
    ).eval()
    before = _logits(model, tokenizer)
    # The rounding of the weights is judged, not that of computing in 16 bits, which moves the base's own logits by more.
    merged = model.merge_and_unload().to(torch.bfloat16).to(torch.float32)
    worst = _difference(before, _logits(merged, tokenizer))
    if worst > LIMIT:
        raise TrainingError(
            f"{folder}: merged and adapter disagree by {worst:.2f} standard deviations. Nothing was written"
        )
    with files.replacing(out) as draft:
        merged.to(torch.bfloat16).save_pretrained(draft)
        tokenizer.save_pretrained(draft)
    return out, worst


def _logits(model: Any, tokenizer: Any) -> list[Any]:
    import torch

    with torch.no_grad():
        return [model(**tokenizer(text, return_tensors="pt")).logits[0].float() for text in _PROBES]


def _difference(before: list[Any], after: list[Any]) -> float:
    return max(float((a - b).abs().max() / a.std()) for a, b in zip(before, after, strict=True))
