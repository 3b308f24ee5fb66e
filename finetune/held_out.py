"""Validation in training: the loss per supervised token, and what the model answers on held-out rows.

Rows of the project's own data say what they are: `kind: exam` with `answer` (a letter), `kind: grounded` with `gold`
(the numbers of the supporting sources), `kind: refusal`. Rows of other data only count for the loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from core.exam import LETTERS
from finetune import metrics, packing
from finetune.config import FinetuneSettings
from finetune.dataset import IGNORED, Sample, prompt_ids
from rag.prompts import declined

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_ANSWER_TOKENS = 80
_BATCH = 8


class HeldOut:
    """The validation samples of a run, evaluated again and again with the same rows."""

    def __init__(
        self, samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase, settings: FinetuneSettings
    ) -> None:
        self.samples, self.tokenizer = samples, tokenizer
        capacity = settings.max_length
        self._packs = [[samples[i] for i in group] for group in packing.pack([len(s) for s in samples], capacity)]
        per_kind = settings.eval_generations
        self._exam = [s for s in samples if s.row.extra.get("kind") == "exam"][: 4 * per_kind]
        grounded = [s for s in samples if s.row.extra.get("kind") == "grounded"][: per_kind // 2]
        refused = [s for s in samples if s.row.extra.get("kind") == "refusal"][: per_kind - per_kind // 2]
        self._answered = [*grounded, *refused]

    def evaluate(self, model: PreTrainedModel) -> dict[str, float]:
        """`eval_loss` (nats per supervised token) and, where there are such rows, the metrics of answers."""
        with _inference(model):
            found = {"eval_loss": self._loss(model)}
            if self._exam:
                found["eval_exam_accuracy"] = self._exam_accuracy(model)
            if self._answered:
                texts = [text for batch in _batches(self._answered) for text in self._answers(model, batch)]
                wanted = [s.row.extra["kind"] == "refusal" for s in self._answered]
                given = [declined(text) for text in texts]
                found["eval_refusal_precision"], found["eval_refusal_recall"], found["eval_refusal_f1"] = (
                    metrics.refusal(given, wanted)
                )
                both = [
                    (t, s.row.extra["gold"]) for t, s, w in zip(texts, self._answered, wanted, strict=True) if not w
                ]
                found["eval_citation_precision"] = metrics.citation_precision(
                    [t for t, _ in both], [g for _, g in both]
                )
        return found

    def heaviest(self) -> list[Sample]:
        """The samples whose evaluation takes the most memory: the largest batch to answer, or else the longest pack."""
        batches = list(_batches(self._answered)) or self._packs
        return list(max(batches, key=lambda batch: len(batch) * max(map(len, batch)), default=[]))

    def _loss(self, model: PreTrainedModel) -> float:
        from finetune.training import supervised_loss

        total, tokens = 0.0, 0
        for pack in self._packs:
            batch = _on(packing.row(pack), model)
            n = int((batch["labels"][0, 1:] != IGNORED).sum())
            total += float(supervised_loss(model, batch, 1))
            tokens += n
        return total / max(1, tokens)

    def _exam_accuracy(self, model: PreTrainedModel) -> float:
        """Accuracy of the letter with the highest log-probability as the answer's first token."""
        letters = [self.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in LETTERS]
        chosen = []
        for sample in self._exam:
            ids = torch.tensor([prompt_ids(sample.row.messages[:-1], self.tokenizer)], device=model.device)
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), logits_to_keep=1, use_cache=False).logits
            chosen.append(int(logits[0, -1, letters].argmax()))
        return metrics.accuracy(chosen, [LETTERS.index(str(s.row.extra["answer"])) for s in self._exam])

    def _answers(self, model: PreTrainedModel, samples: Sequence[Sample]) -> list[str]:
        """Greedy answers, prompts padded on the left."""
        prompts = [prompt_ids(s.row.messages[:-1], self.tokenizer) for s in samples]
        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=_ANSWER_TOKENS,
            do_sample=False,
            use_cache=True,
            pad_token_id=pad,
        )
        return [self.tokenizer.decode(row[width:], skip_special_tokens=True).strip() for row in out]


def _batches(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    for at in range(0, len(samples), _BATCH):
        yield samples[at : at + _BATCH]


def _on(batch: dict[str, Any], model: PreTrainedModel) -> dict[str, Any]:
    return {k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


@contextmanager
def _inference(model: PreTrainedModel) -> Iterator[None]:
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was)
