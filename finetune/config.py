"""Every setting of a fine-tuning run, in the spelling of Hugging Face, TRL and PEFT, with its default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from core.config import Settings
from core.errors import ConfigError
from serving.adapters import RANKS

CONFIGS = Path(__file__).with_name("configs")
Metric = Literal["eval_loss", "eval_exam_accuracy", "eval_citation_precision", "eval_refusal_f1"]


class FinetuneSettings(Settings):
    """A flat file: what other trainers call by another name is said in the error message."""

    # What is trained, on what. `datasets` are .jsonl, .json or .parquet files; rows of `eval_datasets` are never
    # trained on. Without them, `val_size` (share or number of rows) is split off the training rows.
    model_name_or_path: str = "smollm2-135m-instruct"
    datasets: tuple[Path, ...] = Field((Path("data/sft/train.jsonl"),), min_length=1)
    eval_datasets: tuple[Path, ...] = ()
    val_size: float = Field(0.05, ge=0)
    max_samples: int | None = Field(None, ge=1)
    max_eval_samples: int | None = Field(None, ge=1)
    max_length: int = Field(1024, ge=16)
    packing: bool = True
    assistant_only_loss: bool = True
    dataset_num_proc: int = Field(1, ge=1)

    # The adapter.
    lora_r: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_target_modules: str | tuple[str, ...] = "all-linear"
    modules_to_save: tuple[str, ...] = ()
    use_rslora: bool = False
    use_dora: bool = False
    loraplus_lr_ratio: float | None = Field(None, gt=0)

    # The base. `torch_dtype` is left to the machine: bfloat16 where the hardware multiplies it, else float32.
    load_in_4bit: bool = False
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    use_bnb_nested_quant: bool = False
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    gradient_checkpointing: bool = False

    # The run.
    output_dir: Path = Path("runs/lora")
    per_device_train_batch_size: int = Field(4, ge=1)
    gradient_accumulation_steps: int = Field(1, ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    num_train_epochs: float = Field(1.0, gt=0)
    max_steps: int = Field(-1, ge=-1)
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, ge=0)
    optim: Literal["adamw_torch", "adamw_torch_fused", "paged_adamw_8bit", "adafactor"] = "adamw_torch"
    seed: int = Field(42, ge=0)
    fsdp: str = ""

    # Watching it, keeping the best, stopping.
    logging_steps: int = Field(1, ge=1)
    eval_steps: int = Field(50, ge=1)
    save_steps: int = Field(50, ge=1)
    save_total_limit: int = Field(3, ge=1)
    eval_generations: int = Field(24, ge=0)
    load_best_model_at_end: bool = True
    metric_for_best_model: Metric = "eval_loss"
    early_stopping_patience: int | None = Field(None, ge=1)
    resume_from_checkpoint: bool | Path = True
    report_to: tuple[str, ...] = ("mlflow",)

    elsewhere: ClassVar[Mapping[str, str]] = {
        # LLaMA-Factory
        "cutoff_len": "max_length",
        "dataset": "datasets",
        "eval_dataset": "eval_datasets",
        "lora_rank": "lora_r",
        "lora_target": "lora_target_modules",
        "additional_target": "modules_to_save",
        "quantization_bit": "load_in_4bit",
        "quantization_type": "bnb_4bit_quant_type",
        "double_quantization": "use_bnb_nested_quant",
        "neat_packing": "packing",
        "train_on_prompt": "assistant_only_loss (turned round)",
        "flash_attn": "attn_implementation",
        "finetuning_type": "always LoRA: leave the key out; load_in_4bit: true makes it QLoRA",
        "preprocessing_num_workers": "dataset_num_proc",
        # Axolotl
        "base_model": "model_name_or_path",
        "sequence_len": "max_length",
        "sample_packing": "packing",
        "train_on_inputs": "assistant_only_loss (turned round)",
        "adapter": "always LoRA: leave the key out; load_in_4bit: true makes it QLoRA",
        "lora_target_linear": "lora_target_modules: all-linear",
        "peft_use_dora": "use_dora",
        "peft_use_rslora": "use_rslora",
        "micro_batch_size": "per_device_train_batch_size",
        "num_epochs": "num_train_epochs",
        "lr_scheduler": "lr_scheduler_type",
        "optimizer": "optim",
        "val_set_size": "val_size",
        "lora_modules_to_save": "modules_to_save",
        # TRL and transformers, as they were or are elsewhere
        "max_seq_length": "max_length",
        "torch_dtype": "dtype",
        "bf16": "dtype: bfloat16",
        "fp16": "dtype: bfloat16 (float16 is not offered)",
        "bnb_4bit_use_double_quant": "use_bnb_nested_quant",
        "target_modules": "lora_target_modules",
        "r": "lora_r",
        "model": "model_name_or_path",
        "batch_size": "per_device_train_batch_size",
        "lr": "learning_rate",
        "epochs": "num_train_epochs",
        "train_file": "datasets",
        # The other kind of training
        "sources": "only for an embedder: python -m finetune embedder",
    }

    @model_validator(mode="after")
    def _fits_together(self) -> FinetuneSettings:
        watched = bool(self.eval_datasets) or self.val_size > 0
        if not watched and (self.early_stopping_patience or self.metric_for_best_model != "eval_loss"):
            raise ValueError("early stopping and the best checkpoint need eval_datasets or a val_size above 0")
        if self.load_best_model_at_end and watched and self.save_steps % self.eval_steps:
            raise ValueError(
                f"with load_best_model_at_end, save_steps ({self.save_steps}) must be a multiple of "
                f"eval_steps ({self.eval_steps})"
            )
        if self.metric_for_best_model != "eval_loss" and not self.eval_generations:
            raise ValueError(f"metric_for_best_model: {self.metric_for_best_model} needs eval_generations above 0")
        if self.load_in_4bit and self.modules_to_save:
            raise ValueError("modules_to_save cannot be trained in 4 bits: leave one of the two out")
        return self

    @property
    def watched(self) -> bool:
        """Whether there is validation data."""
        return bool(self.eval_datasets) or self.val_size > 0


class EmbedderSettings(Settings):
    """A flat file in the spelling of sentence-transformers and PEFT."""

    model_name_or_path: str = "all-minilm-l6-v2"
    # Files or folders of JSON lines with `question`, `doc_id` and `quote`, and the documents those quotes stand in.
    datasets: tuple[Path, ...] = Field((Path("data/pairs"),), min_length=1)
    sources: tuple[Path, ...] = Field((Path("data/corpus"),), min_length=1)
    # Documents fall into `folds` by their name; questions on those of `held_out_fold` are not trained on.
    folds: int = Field(5, ge=2)
    held_out_fold: int | None = Field(None, ge=0)
    max_seq_length: int = Field(192, ge=16)

    lora_r: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    lora_target_modules: tuple[str, ...] = ("query", "key", "value", "dense")

    output_dir: Path = Path("runs/embedder")
    resume_from_checkpoint: bool = True
    per_device_train_batch_size: int = Field(24, ge=2)
    learning_rate: float = Field(2e-4, gt=0)
    num_train_epochs: float = Field(3.0, gt=0)
    max_steps: int = Field(-1, ge=-1)
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "cosine"
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    dense_scale: float = Field(20.0, gt=0)
    token_scale: float = Field(25.0, gt=0)
    token_weight: float = Field(1.0, ge=0)
    logging_steps: int = Field(10, ge=1)
    save_steps: int = Field(50, ge=1)
    seed: int = Field(42, ge=0)

    elsewhere: ClassVar[Mapping[str, str]] = {
        "batch_size": "per_device_train_batch_size",
        "epochs": "num_train_epochs",
        "lr": "learning_rate",
    }

    @model_validator(mode="after")
    def _fold_there(self) -> EmbedderSettings:
        if self.held_out_fold is not None and self.held_out_fold >= self.folds:
            raise ValueError(
                f"held_out_fold ({self.held_out_fold}) counts from 0, so it must be less than folds ({self.folds})"
            )
        return self


def find_config(name: str) -> Path:
    """The path given, or the file of that name among the project's own configs. ConfigError lists those."""
    for path in (Path(name), CONFIGS / name, CONFIGS / f"{name}.yaml"):
        if path.is_file():
            return path
    known = ", ".join(sorted(p.name for p in CONFIGS.glob("*.yaml")))
    raise ConfigError(f"{name}: no such config. Give a path, or one of finetune/configs: {known}")


def unservable(settings: FinetuneSettings) -> list[str]:
    """What vLLM would refuse to serve as an adapter, each as one line; empty when it will serve it."""
    found = []
    if settings.use_dora:
        found.append("use_dora: vLLM does not serve DoRA adapters (merge it instead)")
    if settings.modules_to_save:
        found.append("modules_to_save: vLLM does not serve adapters with whole modules (merge it instead)")
    if settings.lora_r > RANKS[-1]:
        found.append(f"lora_r: vLLM serves ranks up to {RANKS[-1]}")
    return found
