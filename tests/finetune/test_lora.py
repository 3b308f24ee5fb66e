"""The fused LoRA layer is peft's, in value and in every gradient; what it cannot do stays with peft."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from finetune.lora import fuse


class _Two(torch.nn.Module):
    """Two linear layers, so that one gets a gradient for its input; with the attribute names peft looks for."""

    def __init__(self, sizes: tuple[int, int, int], bias: bool) -> None:
        super().__init__()
        self.first = torch.nn.Linear(sizes[0], sizes[1], bias=bias)
        self.second = torch.nn.Linear(sizes[1], sizes[2], bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(torch.tanh(self.first(x)))
        return out


def _pair(model: torch.nn.Module, rank: int = 4, **changed: Any) -> tuple[Any, Any, int]:
    """peft's model, the same with fused layers, and how many layers were fused."""
    config = LoraConfig(r=rank, lora_alpha=3, target_modules=["first", "second"], lora_bias=False, **changed)
    plain = get_peft_model(model, config)
    for name, parameter in plain.named_parameters():
        if "lora_B" in name:  # zeros at the start, behind which mistakes would hide
            torch.nn.init.normal_(parameter)
    fused = copy.deepcopy(plain)
    return plain, fused, fuse(fused)


def _outcome(model: Any, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    out = model(x)
    out.to(torch.promote_types(out.dtype, torch.float32)).square().sum().backward()
    return [out.detach(), x.grad, *(p.grad for p in model.parameters() if p.requires_grad)]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 40)] * 3), rank=st.integers(1, 8), rows=st.integers(1, 9), bias=st.booleans(),
    rslora=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_values_and_gradients_are_pefts(
    sizes: tuple[int, int, int], rank: int, rows: int, bias: bool, rslora: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    plain, fused, layers = _pair(_Two(sizes, bias), rank, use_rslora=rslora)
    assert layers == 2
    plain.double(), fused.double()  # in float32 rounding alone passes 1e-4 now and then
    x = torch.randn(2, rows, sizes[0], dtype=torch.float64)
    for one, other in zip(_outcome(plain, x), _outcome(fused, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_under_autocast_it_is_as_near_to_float32_as_peft() -> None:
    torch.manual_seed(0)
    plain, fused, _ = _pair(_Two((64, 128, 64), bias=True))
    x = torch.randn(4, 16, 64)
    exact = _outcome(plain, x)
    plain.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        of_peft, of_ours = _outcome(plain, x), _outcome(fused, x)
    assert of_ours[0].dtype == torch.bfloat16

    def off(found: list[torch.Tensor]) -> float:
        return sum(float((a - b).norm() / a.norm()) for a, b in zip(exact, found, strict=True))

    assert off(of_ours) < 1.1 * off(of_peft) and off(of_ours) < 0.02 * len(exact)


def test_a_4_bit_base_is_read_as_peft_reads_it() -> None:
    import bitsandbytes as bnb

    torch.manual_seed(0)
    model = _Two((64, 128, 64), bias=True)
    for name in ("first", "second"):
        layer = getattr(model, name)
        small = bnb.nn.Linear4bit(layer.in_features, layer.out_features, compute_dtype=torch.float32, quant_type="nf4")
        small.load_state_dict(layer.state_dict())
        setattr(model, name, small.to("cpu"))
    plain, fused, layers = _pair(model)
    assert layers == 2
    x = torch.randn(1, 16, 64)
    for one, other in zip(_outcome(plain, x), _outcome(fused, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("changed", [{"use_dora": True}, {"lora_dropout": 0.1}])
def test_dora_and_dropout_stay_with_peft(changed: dict[str, Any]) -> None:
    assert _pair(_Two((8, 8, 8), bias=False), **changed)[2] == 0


def test_an_adapter_turned_off_is_the_base() -> None:
    torch.manual_seed(0)
    plain, fused, _ = _pair(_Two((8, 16, 8), bias=True))
    x = torch.randn(1, 3, 8)
    with plain.disable_adapter(), fused.disable_adapter():
        torch.testing.assert_close(plain(x), fused(x))
