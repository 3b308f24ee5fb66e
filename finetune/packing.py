"""Samples side by side in one row, without padding and without seeing each other.

Every batch is one row of whole samples laid end to end (padding-free); `packing` fills rows up to `max_length`. What
keeps samples apart is an attention that runs on each segment by itself: the boundaries travel with the batch as
`cu_seq_lens`, which flash attention reads natively and `segments` below reads everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from finetune.dataset import IGNORED, Sample

if TYPE_CHECKING:
    import torch

ATTENTION = "segments"
# Lengths and numbers of supervised positions are filled up to a multiple of this: kernels are chosen or compiled by
# shape, and tensors of few sizes fit where others were freed.
MULTIPLE = 64


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices grouped so that no group's lengths exceed `capacity`: best fit, longest first.

    Raises ValueError where one length alone exceeds it.
    """
    import bisect

    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    rooms: list[tuple[int, int]] = []  # (what still fits, group), ascending
    groups: list[list[int]] = []
    for i in order:
        if lengths[i] > capacity:
            raise ValueError(f"a length of {lengths[i]} does not fit into {capacity}")
        at = bisect.bisect_left(rooms, (lengths[i], -1))
        if at == len(rooms):
            groups.append([i])
            bisect.insort(rooms, (capacity - lengths[i], len(groups) - 1))
        else:
            room, group = rooms.pop(at)
            groups[group].append(i)
            bisect.insort(rooms, (room - lengths[i], group))
    return groups


def row(samples: Sequence[Sample]) -> dict[str, Any]:
    """One batch: input_ids, labels and position_ids [1, n], n a multiple of MULTIPLE, cu_seq_lens int32 [segments + 1].

    What is filled up is a segment of its own, seen by no sample and without labels.
    """
    import torch

    bounds: list[int] = [0]
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    for sample in samples:
        ids += sample.input_ids
        # The first token of a sample follows the last of another: there is nothing to predict it from.
        labels += (IGNORED, *sample.labels[1:])
        positions += range(len(sample))
        bounds.append(bounds[-1] + len(sample))
    if spare := -len(ids) % MULTIPLE:
        ids += [0] * spare
        labels += [IGNORED] * spare
        positions += range(spare)
        bounds.append(len(ids))
    cumulative = torch.tensor(bounds, dtype=torch.int32)
    longest = max((b - a for a, b in pairwise(bounds)), default=0)
    return {
        "input_ids": torch.tensor([ids]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([positions]),
        "cu_seq_lens_q": cumulative,
        "cu_seq_lens_k": cumulative,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def register() -> str:
    """Makes `segments` known to transformers, once; its name."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    AttentionInterface.register(ATTENTION, _segments)
    # Batches without boundaries (padded ones, as in generation) are plain SDPA's, mask included.
    AttentionMaskInterface.register(ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    return ATTENTION


def _segments(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal SDPA on each segment by itself: exact by construction, and n² only within a sample."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if cu_seq_lens_q is None:
        out: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return out
    kwargs.pop("is_causal", None)
    bounds = cu_seq_lens_q.tolist()
    parts = [
        sdpa_attention_forward(
            module, query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], None, is_causal=True, **kwargs
        )[0]
        for a, b in pairwise(bounds)
    ]
    return torch.cat(parts, dim=1), None


def leak(model: torch.nn.Module, batch: dict[str, Any]) -> float:
    """Largest change of a sample's logits when the other samples of its row are turned about, over the logits' spread.

    0 where samples are kept apart, in any precision, for the shapes stay the same; of the order of 1 where one sees
    another. That packed rows are also right, not only apart, is compared in float32 by the tests.
    """
    import torch

    model.eval()
    inputs = {k: v for k, v in batch.items() if k != "labels"}

    def logits(ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model(**inputs | {"input_ids": ids}, use_cache=False).logits[0].float()
        return found

    worst = 0.0
    with torch.no_grad():
        before = logits(batch["input_ids"])
        spread = float(before.std()) or 1.0
        for a, b in pairwise(batch["cu_seq_lens_q"].tolist()):
            ids = batch["input_ids"].flip(1)
            ids[:, a:b] = batch["input_ids"][:, a:b]
            worst = max(worst, float((logits(ids)[a:b] - before[a:b]).abs().max()) / spread)
    return worst
