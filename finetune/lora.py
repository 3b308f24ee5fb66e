"""LoRA's layer as one autograd function: y = x Wᵀ + s (x Aᵀ) Bᵀ, in the dtype of computation throughout.

peft computes the same from separate modules: it turns the input into the matrices' float32 and autocast turns it back,
scales the full output instead of the rank-sized product, and adds both branches, forward and backward, in tensors of
their own. Here the small products are added in place and only x and x Aᵀ are kept for the backward pass.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from peft import PeftModel


def fuse(model: PeftModel) -> int:
    """Puts the function in place of the forward of every plain LoRA linear layer, 4-bit ones too; how many there were.

    DoRA and dropout stay with peft. Not for FSDP, which gathers a module's weights when that module itself is called.
    """
    from peft.tuners.lora.layer import LoraLayer

    found = [m for m in model.modules() if isinstance(m, LoraLayer) and _plain(m)]
    for layer in found:
        layer.forward = partial(_forward, layer, layer.forward)
    return len(found)


def _plain(layer: Any) -> bool:
    base = layer.get_base_layer()
    four_bit = type(base).__name__ == "Linear4bit"
    one = list(layer.active_adapters) == list(layer.lora_A) and len(layer.lora_A) == 1
    if not one or not (four_bit or type(base) is torch.nn.Linear) or layer.lora_variant:
        return False
    (name,) = layer.lora_A
    return isinstance(layer.lora_dropout[name], torch.nn.Identity) and layer.lora_B[name].bias is None


def _forward(layer: Any, plain: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    if layer.disable_adapters or layer.merged or args or kwargs:
        wanted: torch.Tensor = plain(x, *args, **kwargs)
        return wanted
    (name,) = layer.lora_A
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    out: torch.Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
        x, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.get_base_layer(), layer.scaling[name], dtype
    )
    return out


def _weight(base: Any, dtype: torch.dtype) -> torch.Tensor:
    """The frozen weight; of a 4-bit layer a copy, written out anew each time."""
    state = getattr(base.weight, "quant_state", None)
    if state is None:
        weight: torch.Tensor = base.weight.to(dtype)
        return weight
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(base.weight.data, state).to(dtype)


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, base: Any, scaling: float, dtype: torch.dtype
    ) -> torch.Tensor:
        flat, small_a, small_b = x.reshape(-1, x.shape[-1]).to(dtype), a.to(dtype), b.to(dtype)
        low = (flat @ small_a.T).mul_(scaling)
        bias = None if base.bias is None else base.bias.to(dtype)
        out = functional.linear(flat, _weight(base, dtype), bias).addmm_(low, small_b.T)
        ctx.save_for_backward(flat, low, small_a, small_b)
        ctx.base, ctx.scaling, ctx.like = base, scaling, (x.shape, x.dtype, a.dtype, b.dtype)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, low, a, b = ctx.saved_tensors
        shape, of_x, of_a, of_b = ctx.like
        grad = grad.reshape(-1, grad.shape[-1]).to(flat.dtype)
        grad_low = (grad @ b).mul_(ctx.scaling)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ _weight(ctx.base, flat.dtype)).addmm_(grad_low, a).view(shape).to(of_x)
        # Transposed after the product: the wide factor is then read as it lies.
        return grad_x, (grad_low.T @ flat).to(of_a), (low.T @ grad).T.to(of_b), None, None, None
