"""The base model from the registry or a folder, whole or in 4 bits, with LoRA matrices attached."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError
from finetune import packing
from finetune.config import FinetuneSettings

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def base_folder(name: str) -> Path:
    """Weights by registry name (fetched and verified if need be) or from a folder. ConfigError otherwise."""
    from serving.connect import locate

    return locate(name)[1]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The base's tokenizer; it must be a fast one, whose tokens know their place in the text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not tokenizer.is_fast:
        raise ConfigError(f"{folder}: needs a fast tokenizer (tokenizer.json): token offsets come from it")
    return tokenizer


def choose_dtype(settings: FinetuneSettings) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, else float32, unless the settings say."""
    import torch

    from serving.registry import machine
    from serving.vllm import dtype

    name = dtype(machine()) if settings.dtype == "auto" else settings.dtype
    found: torch.dtype = getattr(torch, name)
    return found


def choose_attention(settings: FinetuneSettings) -> str:
    """Flash attention where it is installed beside a GPU, else one causal SDPA per sample."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    if settings.attn_implementation in ("auto", "sdpa"):
        if settings.attn_implementation == "auto" and torch.cuda.is_available() and is_flash_attn_2_available():
            return "flash_attention_2"
        return packing.register()
    if settings.attn_implementation == "flash_attention_2" and not (
        torch.cuda.is_available() and is_flash_attn_2_available()
    ):
        raise ConfigError("attn_implementation: flash_attention_2 needs a GPU and the flash-attn package. Use sdpa")
    return settings.attn_implementation


def load_base(settings: FinetuneSettings, folder: Path) -> PreTrainedModel:
    """The base in its dtype, or in 4 bits, on this process's device, frozen."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = choose_dtype(settings)
    quantised: dict[str, Any] = {}
    if settings.load_in_4bit:
        quantised["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=settings.bnb_4bit_quant_type,
            bnb_4bit_use_double_quant=settings.use_bnb_nested_quant,
            bnb_4bit_compute_dtype=dtype,
        )
        quantised["device_map"] = {"": _device()}
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=choose_attention(settings), local_files_only=True, **quantised
    )
    model.requires_grad_(False)
    model.config.use_cache = False
    if not settings.load_in_4bit and torch.cuda.is_available():
        model.to(_device())
    return model


def attach(model: PreTrainedModel, settings: FinetuneSettings) -> PeftModel:
    """The model with trainable LoRA matrices, in float32. ConfigError names the modules there are."""
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.utils.other import prepare_model_for_kbit_training

    from finetune.lora import fuse

    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    if settings.load_in_4bit:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)  # type: ignore[no-untyped-call]
    targets = settings.lora_target_modules
    torch.manual_seed(settings.seed)  # LoRA's A matrices are drawn at random
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=list(settings.modules_to_save) or None,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        task_type="CAUSAL_LM",
    )
    try:
        made = get_peft_model(model, config)
    except ValueError as error:
        linear = sorted(
            {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        )
        raise ConfigError(f"lora_target_modules: {error}. Linear modules of this base: {', '.join(linear)}") from None
    if not settings.fsdp:
        fuse(made)
    return made


def optimizer(model: PeftModel, settings: FinetuneSettings) -> torch.optim.Optimizer | None:
    """LoRA+ (Hayou et al. 2024): a higher rate for the B matrices; None where Trainer's own optimizer does."""
    if settings.loraplus_lr_ratio is None:
        return None
    import torch
    from peft.optimizers import create_loraplus_optimizer

    made: torch.optim.Optimizer = create_loraplus_optimizer(
        model=model,
        optimizer_cls=torch.optim.AdamW,
        lr=settings.learning_rate,
        loraplus_lr_ratio=settings.loraplus_lr_ratio,
        weight_decay=settings.weight_decay,
    )
    return made


def _device() -> str:
    import os

    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
