"""Fine-tuning the embedder that search stands on: from questions and the passages that answer them, a LoRA adapter.

sentence-transformers' trainer does the training; ours is the loss, because search uses the embedder twice: one vector a
passage (InfoNCE with the batch's other passages as negatives, van den Oord et al. 2018) and its token vectors for late
interaction (the same over MaxSim, Khattab & Zaharia 2020).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from finetune import checkpoints, run
from finetune.config import EmbedderSettings
from finetune.pairs import Pair
from rag.building import open_embedder
from rag.config import IndexSettings


class PairLoss(torch.nn.Module):
    """In-batch negatives over passage vectors and over MaxSim; passages of one document are no negatives of each other."""

    def __init__(self, model: torch.nn.Module, settings: EmbedderSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses in nats by name; sentence-transformers adds them up. `labels` [batch] number the documents."""
        query, passage = (_unit(self.model(features)) for features in sentence_features)
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        same = (labels[:, None] == labels[None, :]) & ~own
        target = torch.arange(len(labels), device=labels.device)
        dense = query["vectors"] @ passage["vectors"].T * self.settings.dense_scale
        similar = torch.einsum("qid,pjd->qpij", query["tokens"], passage["tokens"])
        best = similar.masked_fill(~passage["mask"][None, :, None, :], -1.0).amax(-1)
        inner = _inner(query["mask"])
        max_sim = (best * inner[:, None, :]).sum(-1) / inner.sum(-1).clamp(min=1)[:, None] * self.settings.token_scale
        return {
            "dense": functional.cross_entropy(dense.masked_fill(same, -torch.inf), target),
            "tokens": self.settings.token_weight
            * functional.cross_entropy(max_sim.masked_fill(same, -torch.inf), target),
        }


def train(settings: EmbedderSettings, pairs: Sequence[Pair]) -> Path:
    """Trains on these pairs and writes `output_dir/adapter`, which `dense.adapter` takes. Goes on from the last whole checkpoint.

    TrainingError where the folder holds a run of other settings or other pairs.
    """
    run.prepare(settings, hashlib.sha256(repr(pairs).encode()).hexdigest())
    started = time.monotonic()
    from datasets import Dataset
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from transformers import TrainerCallback, set_seed

    set_seed(settings.seed)
    model = open_embedder(
        IndexSettings.model_validate({"dense": {"model": settings.model_name_or_path, "adapter": ""}})
    ).model
    model.max_seq_length = settings.max_seq_length
    model.add_adapter(
        LoraConfig(
            task_type="FEATURE_EXTRACTION",
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=list(settings.lora_target_modules),
        )
    )
    number = {doc_id: n for n, doc_id in enumerate(sorted({pair.doc_id for pair in pairs}))}
    rows = Dataset.from_dict(
        {
            "question": [pair.question for pair in pairs],
            "passage": [pair.passage for pair in pairs],
            "label": [number[pair.doc_id] for pair in pairs],
        }
    )

    class Seal(TrainerCallback):  # type: ignore[misc]
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            checkpoints.seal(settings.output_dir / f"checkpoint-{state.global_step}")

    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(settings.output_dir),
            per_device_train_batch_size=settings.per_device_train_batch_size,
            num_train_epochs=settings.num_train_epochs,
            max_steps=settings.max_steps,
            learning_rate=settings.learning_rate,
            lr_scheduler_type=settings.lr_scheduler_type,
            warmup_steps=settings.warmup_ratio,
            weight_decay=settings.weight_decay,
            seed=settings.seed,
            use_cpu=not torch.cuda.is_available(),
            bf16=torch.cuda.is_available(),
            logging_steps=settings.logging_steps,
            save_steps=settings.save_steps,
            save_total_limit=2,
            dataloader_drop_last=len(pairs) > settings.per_device_train_batch_size,
            report_to="none",
        ),
        train_dataset=rows,
        loss=PairLoss(model, settings),
        callbacks=[Seal()],
    )
    last = checkpoints.last_whole(settings.output_dir)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    model.transformers_model.save_pretrained(str(settings.output_dir / "adapter"))
    run.finish(
        settings.output_dir,
        {"pairs": len(pairs), "steps": trainer.state.global_step, "seconds": round(time.monotonic() - started, 1)},
    )
    return settings.output_dir / "adapter"


def _unit(out: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        "vectors": functional.normalize(out["sentence_embedding"], dim=-1),
        "tokens": functional.normalize(out["token_embeddings"], dim=-1),
        "mask": out["attention_mask"].bool(),
    }


def _inner(mask: torch.Tensor) -> torch.Tensor:
    """A question's own tokens: without the model's first and last one, as search leaves them out."""
    inner = mask.clone()
    inner[:, 0] = False
    inner[torch.arange(len(mask), device=mask.device), mask.sum(-1) - 1] = False
    return inner
