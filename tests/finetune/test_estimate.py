"""The dry run needs no weights, trains nothing, and its peak memory is what the run then takes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from core.config import load
from core.paths import ROOT
from tests.finetune.test_training import _command


def test_a_dry_run_knows_the_memory_without_the_weights(
    chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = _deep(chat_model, tmp_path / "deep")
    weights = (base / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    data = tmp_path / "long.jsonl"
    words = "LoRA freezes the base model and trains two small matrices beside each weight matrix "
    row = {"messages": [{"role": "user", "content": words * 12}, {"role": "assistant", "content": words}]}
    data.write_text("".join(json.dumps(row | {"note": str(i)}) + "\n" for i in range(16)))
    given = ("max_length=512", "max_steps=2", "eval_steps=2", "save_steps=2", "per_device_train_batch_size=2")
    shown = _ran(base, data, tmp_path / "run", *given, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    found = re.search(r"peak memory +([\d.]+) GiB", shown.stdout)
    assert "trainable of" in shown.stdout and "<|im_start|>assistant" in shown.stdout
    assert not (tmp_path / "run").exists()
    weights.rename(base / "model.safetensors")
    ran = _ran(base, data, tmp_path / "run", *given)
    assert found and ran.returncode == 0, ran.stderr
    peak = json.loads((tmp_path / "run" / "run.json").read_text())["peak_memory_bytes"] / 2**30
    assert float(found[1]) == pytest.approx(peak, rel=0.1)
    # Of a large base a few layers are rehearsed: the same run's peak, from 4 and 10 of its 12 layers.
    from finetune import dataset, estimate
    from finetune.config import FinetuneSettings
    from finetune.model import load_tokenizer

    monkeypatch.setattr(estimate, "WHOLE", 0)
    settings = load(FinetuneSettings, tmp_path / "run" / "settings.yaml")
    tokenizer = load_tokenizer(base)
    split = dataset.tokenized(dataset.read(settings), settings, tokenizer)
    assert estimate.estimate(settings, base, tokenizer, split).peak_bytes / 2**30 == pytest.approx(peak, rel=0.1)


def _ran(base: Path, data: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Not forked: a fork's memory is its parent's too."""
    return subprocess.run(_command(base, data, out, *more), cwd=ROOT, capture_output=True, text=True)


def _deep(toy: Path, folder: Path) -> Path:
    """A Llama of 12 layers, deeper than a rehearsal's bases, with the toy's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    AutoTokenizer.from_pretrained(toy).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2000, hidden_size=256, intermediate_size=704, num_hidden_layers=12, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
