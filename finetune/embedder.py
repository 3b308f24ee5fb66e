"""Fine-tuning the embedder that search stands on: from questions and the passages that answer them, a LoRA adapter.

sentence-transformers' trainer does the training; ours is the loss, because search uses the embedder twice: one vector a
passage (InfoNCE with the batch's other passages as negatives, van den Oord et al. 2018) and its token vectors for late
interaction (the same over MaxSim, Khattab & Zaharia 2020).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from core import files
from core.errors import DatasetError
from core.types import Document
from finetune import checkpoints
from finetune.config import EmbedderSettings
from rag.building import open_embedder
from rag.chunking import chunk_document, contextual_text
from rag.config import ChunkSettings, IndexSettings
from rag.documents import load_sources


@dataclass(frozen=True, slots=True)
class Pair:
    """A question, the text of its passage as the index embeds it, and the document that holds it."""

    question: str
    passage: str
    doc_id: str


def read_pairs(settings: EmbedderSettings) -> list[Pair]:
    """All pairs, in file order. DatasetError names file and line where a document or its quote is not there."""
    documents = {d.doc_id: d for d in load_sources(settings.sources)}
    passages: dict[str, list[tuple[int, int, str]]] = {}
    pairs = []
    for path in _files(settings.datasets):
        for number, row in files.read_jsonl(path, DatasetError):
            where = f"{path}:{number}"
            question, doc_id, quote = (row.get(key) for key in ("question", "doc_id", "quote"))
            if not (isinstance(question, str) and question.strip() and isinstance(quote, str) and quote.strip()):
                raise DatasetError(f"{where}: needs question and quote, as texts")
            document = documents.get(str(doc_id))
            if document is None:
                raise DatasetError(f"{where}: no document {doc_id!r} under {', '.join(map(str, settings.sources))}")
            start = document.text.find(quote)
            if start < 0:
                raise DatasetError(f"{where}: {doc_id} does not hold the quote word for word: {quote[:60]!r}")
            held = passages.setdefault(document.doc_id, _passages(document))
            # The passage that holds most of the quote: one may be cut by a chunk's end.
            best = max(held, key=lambda p: min(p[1], start + len(quote)) - max(p[0], start))
            pairs.append(Pair(question, best[2], document.doc_id))
    if not pairs:
        raise DatasetError(f"{', '.join(map(str, settings.datasets))}: no pairs found")
    return pairs


def held_out(doc_id: str, settings: EmbedderSettings) -> bool:
    """Whether questions on this document are kept from training."""
    return zlib.crc32(doc_id.encode()) % settings.folds == settings.held_out_fold


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


def train(settings: EmbedderSettings) -> Path:
    """Trains and writes `output_dir/adapter`, which `dense.adapter` takes. Goes on from the last whole checkpoint."""
    from datasets import Dataset
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from transformers import TrainerCallback, set_seed

    pairs = [pair for pair in read_pairs(settings) if not held_out(pair.doc_id, settings)]
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
    return settings.output_dir / "adapter"


def _files(given: Sequence[Path]) -> list[Path]:
    found = []
    for path in given:
        found += sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    return found


def _passages(document: Document) -> list[tuple[int, int, str]]:
    return [(c.start, c.end, contextual_text(c)) for c in chunk_document(document, ChunkSettings())]


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
