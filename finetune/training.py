"""The training run: transformers' Trainer with our rows, a loss on the supervised tokens alone, and whole checkpoints.

What Trainer does well (schedules, accumulation, accelerate and FSDP, checkpoints with optimizer and random state,
early stopping, MLflow) is left to it. Ours are three things: rows without padding (packing.py), logits computed only
where a loss falls, and an evaluation that also lets the model answer (held_out.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from core.errors import TrainingError
from finetune import checkpoints, memory, packing, run
from finetune.config import FinetuneSettings
from finetune.dataset import IGNORED, Sample, Split
from finetune.held_out import HeldOut
from finetune.model import choose_dtype, optimizer

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

LEAK_LIMIT = 0.05
CHECKED = 64  # tokens of a sample


class Rows(torch.utils.data.Dataset[list[Sample]]):
    """Groups of samples: packs of up to max_length tokens, or single samples."""

    def __init__(self, samples: Sequence[Sample], settings: FinetuneSettings) -> None:
        groups = (
            packing.pack([len(s) for s in samples], settings.max_length)
            if settings.packing
            else [[i] for i in range(len(samples))]
        )
        self.groups = [[samples[i] for i in group] for group in groups]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> list[Sample]:
        return self.groups[index]


def collate(groups: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    """All samples of the groups in one row."""
    return packing.row([sample for group in groups for sample in group])


def supervised_loss(
    model: torch.nn.Module, batch: dict[str, Any], divisor: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Mean cross-entropy (nats) over the supervised tokens of a row; `divisor` replaces their number.

    Hidden states of other positions never reach the output head: with a vocabulary of 150,000 that head and its
    softmax are most of a small model's work and memory.
    """
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    targets = batch["labels"][0, 1:]
    at = (targets != IGNORED).nonzero()[:, 0]
    spare = -at.numel() % packing.MULTIPLE
    logits = model(**inputs, logits_to_keep=functional.pad(at, (0, spare)), use_cache=False).logits[0]
    wanted = functional.pad(targets[at], (0, spare), value=IGNORED)
    total = functional.cross_entropy(logits.float(), wanted, reduction="sum", ignore_index=IGNORED)
    return total / (divisor if divisor is not None else max(1, at.numel()))


class LoraTrainer(Trainer):  # type: ignore[misc]
    """Trainer with the loss and the evaluation above."""

    held_out: HeldOut | None = None
    control: TrainerControl

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """See `supervised_loss`; Trainer passes the number of supervised tokens of the whole step, over all processes."""
        # DDP averages gradients over processes; what is wanted is their sum over the step's tokens.
        scale = self.accelerator.num_processes if num_items_in_batch is not None else 1
        return supervised_loss(model, inputs, num_items_in_batch) * scale

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validation loss, and what the model answers, logged and handed to the callbacks like any metrics."""
        if self.held_out is None:
            return {}
        # Answering needs other tensors than training: what one left as holes the other would not fill.
        memory.trim()
        metrics = self.held_out.evaluate(self.model)
        memory.trim()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class Watch(TrainerCallback):  # type: ignore[misc]
    """Every logged value into metrics.jsonl, curves redrawn at each evaluation, checkpoints sealed, time counted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if state.is_world_process_zero and logs:
            row = {"step": state.global_step, "time": round(time.time(), 3), "peak_memory_bytes": memory.lap()}
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | logs) + "\n")

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        from finetune.curves import draw

        if state.is_world_process_zero:
            draw(state.log_history, self.folder / "curves.png")

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            checkpoints.seal(self.folder / f"checkpoint-{state.global_step}")


def arguments(settings: FinetuneSettings) -> TrainingArguments:
    """The settings as Trainer knows them."""
    cuda = torch.cuda.is_available()
    higher_is_better = settings.metric_for_best_model != "eval_loss"
    return TrainingArguments(
        output_dir=str(settings.output_dir),
        run_name=settings.output_dir.name,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=settings.optim,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=not cuda,
        # The LoRA matrices stay in float32 and are multiplied in bfloat16, like the base.
        bf16=choose_dtype(settings) == torch.bfloat16,
        fsdp=settings.fsdp or None,
        logging_steps=settings.logging_steps,
        eval_strategy="steps" if settings.watched else "no",
        eval_steps=settings.eval_steps,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=settings.save_total_limit,
        load_best_model_at_end=settings.load_best_model_at_end and settings.watched,
        metric_for_best_model=settings.metric_for_best_model,
        greater_is_better=higher_is_better,
        report_to=list(settings.report_to) or "none",
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        ddp_find_unused_parameters=False,
        disable_tqdm=None,
    )


def train(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, split: Split, settings: FinetuneSettings
) -> LoraTrainer:
    """Trains, resuming from the last whole checkpoint of the run's folder, and leaves the best adapter in `adapter/`."""
    set_seed(settings.seed)
    rows = Rows(split.train, settings)
    check_packing(model, rows)
    callbacks: list[TrainerCallback] = [Watch(settings.output_dir)]
    if settings.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(settings.early_stopping_patience))
    trainer = LoraTrainer(
        model=model,
        args=arguments(settings),
        train_dataset=rows,
        eval_dataset=rows if settings.watched else None,  # Trainer asks for one; `evaluate` above reads its own
        data_collator=collate,
        processing_class=tokenizer,
        callbacks=callbacks,
        optimizers=(optimizer(model, settings), None),
        compute_loss_func=supervised_loss,  # tells Trainer to count supervised tokens over accumulated steps
    )
    if settings.watched:
        trainer.held_out = HeldOut(split.validation, tokenizer, settings)
    with trainer.accelerator.main_process_first():  # it puts broken ones aside
        last = _last(settings)
        if trainer.is_world_process_zero():
            run.rewind(settings.output_dir, checkpoints.step_of(last) if last else 0)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if trainer.is_world_process_zero():
        model.save_pretrained(str(settings.output_dir / "adapter"))
        tokenizer.save_pretrained(str(settings.output_dir / "adapter"))
    return trainer


def _last(settings: FinetuneSettings) -> Path | None:
    """The checkpoint to go on from: the one named, the run's last whole one, or none."""
    wanted = settings.resume_from_checkpoint
    if isinstance(wanted, bool):
        return checkpoints.last_whole(settings.output_dir) if wanted else None
    fault = checkpoints.fault_of(wanted)
    if fault:
        raise TrainingError(f"resume_from_checkpoint: {wanted} {fault}. Leave the key out to take the last whole one")
    return wanted


def check_packing(model: PeftModel, rows: Rows) -> None:
    """Turns about each sample's neighbours in a short row, on the very model and attention that will train."""
    shortest = sorted((s for group in rows.groups for s in group), key=len)[:2]
    if len(shortest) < 2:
        return
    # Their beginnings are enough, and logits of every position are the largest tensors there are.
    shortest = [replace(s, input_ids=s.input_ids[:CHECKED], labels=s.labels[:CHECKED]) for s in shortest]
    batch = {k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in packing.row(shortest).items()}
    worst = packing.leak(model, batch)
    if worst > LEAK_LIMIT:
        raise TrainingError(
            f"packing leaks on this base and attention: logits of a sample change by {worst:.2f} standard deviations "
            "with its neighbours. Choose another attn_implementation, or "
            "packing=false with per_device_train_batch_size=1"
        )
