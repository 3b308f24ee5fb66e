"""Memory a model needs on a GPU: weights, KV cache, and what LoRA, QLoRA or full fine-tuning add. Bytes, worked out in view.

Sources: KV cache as in Kwon et al. 2023 (vLLM); 16 bytes a parameter for mixed-precision Adam and activations as in
Rajbhandari et al. 2020 (ZeRO) and Korthikanti et al. 2022 (34 bytes a token, hidden unit and layer, flash attention
assumed; 2 with checkpointing); NF4 with one scale of 32 bits per 64 weights as in Dettmers et al. 2023 (QLoRA).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agents.errors import ToolError

Purpose = Literal["inference", "lora", "qlora", "full"]
_NF4_BITS = 4 + 32 / 64
_ADAM_BYTES = 16  # 2 weight, 2 gradient, 4 master copy, 4 + 4 moments
_ADAPTER_BYTES = 16  # float32 weight, gradient and both moments
_ACTIVATION_BYTES = 34
_CHECKPOINTED_BYTES = 2


@dataclass(frozen=True, slots=True)
class Shape:
    """What a model's config.json says; `parameters` in total."""

    parameters: float
    hidden: int
    layers: int
    kv_heads: int
    head_dim: int
    intermediate: int


# hidden_size, num_hidden_layers, num_key_value_heads, head_dim, intermediate_size of the published config.json files.
SHAPES = {
    "smollm2-135m": Shape(134.5e6, 576, 30, 3, 64, 1536),
    "qwen2.5-0.5b": Shape(494e6, 896, 24, 2, 64, 4864),
    "qwen2.5-1.5b": Shape(1.54e9, 1536, 28, 2, 128, 8960),
    "qwen2.5-7b": Shape(7.62e9, 3584, 28, 4, 128, 18944),
    "qwen3-8b": Shape(8.19e9, 4096, 36, 8, 128, 12288),
    "llama-2-7b": Shape(6.74e9, 4096, 32, 32, 128, 11008),
    "llama-2-13b": Shape(13.02e9, 5120, 40, 40, 128, 13824),
    "llama-2-70b": Shape(68.98e9, 8192, 80, 8, 128, 28672),
    "llama-3-8b": Shape(8.03e9, 4096, 32, 8, 128, 14336),
    "llama-3-70b": Shape(70.55e9, 8192, 80, 8, 128, 28672),
    "mistral-7b": Shape(7.25e9, 4096, 32, 8, 128, 14336),
}


def gpu_memory(
    model: str = "",
    billions: float = 0.0,
    purpose: Purpose = "inference",
    bits: int = 16,
    context: int = 4096,
    batch: int = 1,
    rank: int = 16,
) -> str:
    """What it takes, part by part, with the formula of each; ToolError names the shapes there are.

    `model` is one of SHAPES, or `billions` gives the parameters of a model whose shape is then taken from the nearest
    one. `bits` is the width of the weights in inference and LoRA, `context` tokens a sequence, `batch` sequences at a time.
    """
    shape, assumed = _shape(model, billions)
    if bits not in (2, 3, 4, 8, 16, 32):
        raise ToolError("bits: 4, 8, 16 or 32")
    if not (1 <= context <= 2_000_000 and 1 <= batch <= 4096 and 1 <= rank <= 1024):
        raise ToolError("context, batch and rank must be positive and of a usual size")
    n = shape.parameters
    parts: list[tuple[str, float, str]] = []
    if purpose == "inference":
        kv = 2 * shape.layers * shape.kv_heads * shape.head_dim * 2 * context * batch
        parts = [
            ("weights", n * bits / 8, f"{_count(n)} parameters × {bits} bits"),
            (
                "KV cache",
                kv,
                f"2 × {shape.layers} layers × {shape.kv_heads} KV heads × {shape.head_dim} × 2 bytes × "
                f"{context:,} tokens × {batch} sequences",
            ),
        ]
    elif purpose == "full":
        parts = [("weights, gradients, Adam", n * _ADAM_BYTES, f"{_count(n)} parameters × {_ADAM_BYTES} bytes")]
    else:
        width = _NF4_BITS if purpose == "qlora" else bits
        adapter = _adapter(shape, rank)
        how = "4.5 bits (NF4 and its scales)" if purpose == "qlora" else f"{bits} bits"
        parts = [
            ("frozen weights", n * width / 8, f"{_count(n)} parameters × {how}"),
            (
                "LoRA matrices, gradients, Adam",
                adapter * _ADAPTER_BYTES,
                f"{_count(adapter)} parameters at rank {rank} on all linear layers × {_ADAPTER_BYTES} bytes",
            ),
        ]
    if purpose != "inference":
        tokens = context * batch
        parts.append(
            (
                "activations, checkpointed",
                _CHECKPOINTED_BYTES * tokens * shape.hidden * shape.layers + _ACTIVATION_BYTES * tokens * shape.hidden,
                f"{tokens:,} tokens × {shape.hidden} × (2 bytes × {shape.layers} layers + 34 bytes of one layer)",
            )
        )
    total = sum(size for _, size, _ in parts)
    lines = [f"{name}: {_size(size)} = {formula}" for name, size, formula in parts]
    title = {"inference": "Inference", "lora": "LoRA training", "qlora": "QLoRA training", "full": "Full fine-tuning"}
    head = f"{title[purpose]} of {model or f'a {_count(n)} model'}: about {_size(total)} in all"
    fits = [f"{card} GB" for card in (8, 12, 16, 24, 40, 48, 80, 141) if total * 1.1 <= card * 1e9]
    tail = f"With a tenth to spare it fits a card of {fits[0]} or more." if fits else "No single usual card holds it."
    return "\n".join(
        [f"{head}.", *(f"- {line}" for line in lines), "", " ".join([tail, *([assumed] if assumed else [])])]
    )


def _shape(model: str, billions: float) -> tuple[Shape, str]:
    name = model.strip().lower().replace(" ", "-").replace("_", "-")
    if name:
        found = next(
            (k for k in SHAPES if k == name or name.startswith(k) or k.replace("-", "") == name.replace("-", "")), ""
        )
        if found:
            return SHAPES[found], ""
        if not billions:
            raise ToolError(f"no shape known for {model!r}. Known: {', '.join(SHAPES)}; or give billions")
    if not 0.01 <= billions <= 2000:
        raise ToolError("give a known model, or billions: the parameters in billions, from 0.01 to 2000")
    n = billions * 1e9
    near = min(SHAPES, key=lambda k: max(SHAPES[k].parameters / n, n / SHAPES[k].parameters))
    s = SHAPES[near]
    return Shape(
        n, s.hidden, s.layers, s.kv_heads, s.head_dim, s.intermediate
    ), f"Layers and heads are taken to be those of {near}."


def _adapter(shape: Shape, rank: int) -> int:
    """LoRA parameters on q, k, v, o, gate, up and down of every layer: rank × (in + out) each."""
    h, kv, i = shape.hidden, shape.kv_heads * shape.head_dim, shape.intermediate
    return shape.layers * rank * (2 * (h + h) + 2 * (h + kv) + 3 * (h + i))


def _count(n: float) -> str:
    return f"{n / 1e9:.4g} billion" if n >= 1e9 else f"{n / 1e6:.4g} million"


def _size(size: float) -> str:
    return f"{size / 1e9:.2f} GB ({size / 2**30:.2f} GiB)"
