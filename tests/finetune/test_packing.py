"""Packing fills rows, and no sample sees another: checked on logits, loss and gradients, for every attention there is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.types import Message
from finetune import packing
from finetune.config import FinetuneSettings
from finetune.dataset import Sample, tokenize
from finetune.formats import Conversation
from finetune.model import attach, load_base, load_tokenizer
from finetune.training import supervised_loss
from tests.conftest import NOTES


@given(st.lists(st.integers(1, 64), max_size=60), st.integers(64, 200))
def test_every_index_is_in_one_group_and_no_group_overflows(lengths: list[int], capacity: int) -> None:
    groups = packing.pack(lengths, capacity)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in group) <= capacity for group in groups)
    # Best fit never leaves two groups that would go into one.
    loads = sorted(sum(lengths[i] for i in group) for group in groups)
    assert len(loads) < 2 or loads[0] + loads[1] > capacity


def test_what_fits_nowhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        packing.pack([5, 9], 8)


@pytest.fixture(scope="module")
def samples(chat_model: Path) -> list[Sample]:
    tokenizer, words = load_tokenizer(chat_model), " ".join(NOTES.values()).split()
    return [
        tokenize(Conversation((Message("user", " ".join(words[i : i + 4 + i])), Message("assistant", " ".join(words[i + 9 : i + 14]))), "x"), tokenizer)
        for i in range(5)
    ]  # fmt: skip


@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_loss_and_gradients_are_those_of_the_samples_alone(
    chat_model: Path, samples: list[Sample], attention: str, checkpointing: bool
) -> None:
    chosen = FinetuneSettings(
        model_name_or_path=str(chat_model), attn_implementation=attention, gradient_checkpointing=checkpointing, dtype="float32"
    )  # fmt: skip
    model = attach(load_base(chosen, chat_model), chosen).train()
    weights = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for number, weight in enumerate(weights):  # B matrices start at zero, where gradients of A vanish
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)), alpha=0.02)

    def gradients() -> list[torch.Tensor]:
        found = [torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in weights]
        model.zero_grad()
        return found

    packed = supervised_loss(model, packing.row(samples), 1)
    packed.backward()
    together = gradients()
    alone = torch.tensor(0.0)
    for sample in samples:
        loss = supervised_loss(model, packing.row([sample]), 1)
        loss.backward()
        alone = alone + loss.detach()
    assert float(packed.detach()) == pytest.approx(float(alone), rel=1e-5)
    for a, b in zip(together, gradients(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_check_before_training_sees_a_leak(chat_model: Path, samples: list[Sample], dtype: str) -> None:
    model = load_base(FinetuneSettings(model_name_or_path=str(chat_model), dtype=dtype), chat_model)
    batch = packing.row(samples[:3])
    assert packing.leak(model, batch) < 1e-4
    # The trap: positions that run on and no boundaries, so the second sample reads the first.
    run_on = {"input_ids": batch["input_ids"], "labels": batch["labels"], "cu_seq_lens_q": batch["cu_seq_lens_q"]}

    class Blind(torch.nn.Module):
        def forward(self, cu_seq_lens_q: object = None, **inputs: object) -> object:
            return model(**inputs)

    assert packing.leak(Blind(), run_on) > 0.05


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(5)))
def test_the_order_in_a_row_does_not_matter(order: list[int], chat_model: Path, samples: list[Sample]) -> None:
    model = _model(chat_model)
    with torch.no_grad():
        loss = float(supervised_loss(model, packing.row([samples[i] for i in order])))
        assert loss == pytest.approx(float(supervised_loss(model, packing.row(samples))), rel=1e-5)


_LOADED: dict[Path, torch.nn.Module] = {}


def _model(folder: Path) -> torch.nn.Module:
    if folder not in _LOADED:
        _LOADED[folder] = load_base(FinetuneSettings(model_name_or_path=str(folder), dtype="float32"), folder)
    return _LOADED[folder]
