"""GGUF files as safetensors folders, and 8-bit weights for CPUs: what vLLM and PEFT load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def gguf_to_safetensors(source: Path, out: Path) -> None:
    """Dequantises a GGUF file into bfloat16 safetensors with config and tokenizer, in a new folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    # What is saved is no longer quantised, and must not say so.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(out)


def quantise_w8a8(source: Path, out: Path) -> None:
    """Linear weights as int8 with a scale per output channel, activations quantised per token as they come.

    Round to nearest, symmetric, no calibration data; compressed-tensors' `int-quantized` format, as vLLM reads it.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    out.mkdir()
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(source.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                tensor = file.get_tensor(name)
                if name.endswith("_proj.weight"):
                    weight = tensor.float()
                    scale = (weight.abs().amax(1, keepdim=True) / 127).clamp_min(1e-8)
                    tensors[name] = (weight / scale).round().clamp(-127, 127).to(torch.int8)
                    tensors[f"{name}_scale"] = scale.to(torch.bfloat16)
                else:
                    tensors[name] = tensor
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    int8 = {"num_bits": 8, "type": "int", "symmetric": True}
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": int8 | {"strategy": "channel", "dynamic": False},
                "input_activations": int8 | {"strategy": "token", "dynamic": True},
            }
        },
    }
    (out / "config.json").write_text(json.dumps(config, indent=1))
    for path in source.iterdir():
        if (
            path.is_file()
            and path.suffix != ".safetensors"
            and path.name not in ("config.json", ".complete")
            and "index" not in path.name
        ):
            shutil.copy(path, out / path.name)
