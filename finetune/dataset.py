"""Conversations as token ids with labels: the loss falls on assistant turns, each up to its end-of-turn token.

Which tokens an assistant's turn has is read off the model's own chat template, by rendering the conversation with and
without the turn. A sample with nothing to train on, with nothing masked, or whose end of turn stays untrained is an
error: such a model would never learn to stop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import DatasetError
from core.types import Message, wire
from finetune.config import FinetuneSettings
from finetune.formats import Conversation, read_conversations

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids [n] and labels [n], -100 where no loss falls. `trained` counts the others."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    row: Conversation

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def trained(self) -> int:
        """Number of tokens the loss falls on. The first token has no prediction."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True, slots=True)
class Split:
    """Samples to train on and to validate on; `overlong` names the rows left out because they exceed max_length."""

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    overlong: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Rows:
    """The conversations of a run's files, and the files' sha256."""

    train: list[Conversation]
    held_out: list[Conversation]
    sha256: str


def load(settings: FinetuneSettings, tokenizer: PreTrainedTokenizerBase) -> Split:
    """All data of a run, tokenised and split. Raises DatasetError."""
    return tokenized(read(settings), settings, tokenizer)


def read(settings: FinetuneSettings) -> Rows:
    """The files' conversations; needs no model, so that a mistake in them is said at once. Raises DatasetError."""
    digest = hashlib.sha256()
    rows = [row for path in settings.datasets for row in _read(path, digest)]
    held_out = [row for path in settings.eval_datasets for row in _read(path, digest)]
    return Rows(rows, held_out, digest.hexdigest())


def tokenized(found: Rows, settings: FinetuneSettings, tokenizer: PreTrainedTokenizerBase) -> Split:
    """The rows as samples to train on and to validate on. Raises DatasetError."""
    rows, held_out = found.train, found.held_out
    if not held_out and settings.val_size:
        rows, held_out = split_off(rows, settings.val_size, settings.seed)
    if settings.max_samples is not None:
        rows = _shuffled(rows, settings.seed)[: settings.max_samples]
    if settings.max_eval_samples is not None:
        held_out = _shuffled(held_out, settings.seed)[: settings.max_eval_samples]
    overlong: list[str] = []
    train = _samples(rows, tokenizer, settings, overlong)
    validation = _samples(held_out, tokenizer, settings, overlong)
    if not train:
        raise DatasetError(
            f"{settings.datasets[0]}: every row is longer than max_length ({settings.max_length} tokens). Raise it"
        )
    return Split(tuple(train), tuple(validation), tuple(overlong), found.sha256)


def split_off(
    rows: Sequence[Conversation], val_size: float, seed: int
) -> tuple[list[Conversation], list[Conversation]]:
    """Rows to train on and rows held out: a share (below 1) or a number. Rows of one `note` stay on one side.

    The side is drawn from a hash of the note (or of the conversation), so adding rows moves no other row across.
    """
    groups: dict[str, list[Conversation]] = {}
    for row in rows:
        name = str(row.extra.get("note") or "\0".join(m.content for m in row.messages))
        groups.setdefault(hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest(), []).append(row)
    wanted = val_size if val_size >= 1 else max(1.0, len(rows) * val_size)
    held_out: list[Conversation] = []
    for key in sorted(groups):
        if len(held_out) >= wanted:
            break
        held_out += groups.pop(key)
    train = [row for group in groups.values() for row in group]
    if not train:
        raise DatasetError(f"val_size {val_size} leaves none of {len(rows)} rows to train on. Lower it")
    return train, held_out


def tokenize(row: Conversation, tokenizer: PreTrainedTokenizerBase, assistant_only_loss: bool = True) -> Sample:
    """One conversation as a sample. Raises DatasetError, with the row's place, where the labels cannot be right."""
    text, turns = render(row.messages, tokenizer, row.where)
    encoded: Any = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    end_of_turn = set(_end_of_turn(tokenizer))
    if not assistant_only_loss:
        return Sample(tuple(ids), tuple(ids), row)
    labels = [IGNORED] * len(ids)
    for start, stop in turns:
        inside = [i for i, (a, b) in enumerate(offsets) if a >= start and b <= stop and b > a]
        # The template's white space after the end of turn is never written by the model: no loss there.
        last = next((i for i in reversed(inside) if ids[i] in end_of_turn), None)
        if last is None:
            raise DatasetError(
                f"{row.where}: an assistant turn ends without an end-of-turn token ({tokenizer.eos_token!r}) in the "
                "chat template, so the model would not learn to stop. Use a base with a chat template of its own"
            )
        for i in inside:
            if i <= last:
                labels[i] = ids[i]
    sample = Sample(tuple(ids), tuple(labels), row)
    if not sample.trained:
        raise DatasetError(f"{row.where}: no token to train on: every one is masked")
    if sample.trained >= len(ids) - 1:
        raise DatasetError(f"{row.where}: nothing is masked: the loss would fall on the prompt too")
    return sample


def render(
    messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, where: str = ""
) -> tuple[str, list[tuple[int, int]]]:
    """The conversation in the model's chat template, and the character span of each assistant turn, end of turn included."""
    if not tokenizer.chat_template:
        raise DatasetError(f"{where}: the base has no chat template. Use an instruct model")
    rows = wire(messages)
    text = str(tokenizer.apply_chat_template(rows, tokenize=False))
    turns = []
    for i, message in enumerate(messages):
        if message.role != "assistant":
            continue
        before = str(tokenizer.apply_chat_template(rows[:i], tokenize=False, add_generation_prompt=True))
        after = str(tokenizer.apply_chat_template(rows[: i + 1], tokenize=False))
        if not text.startswith(after) or not after.startswith(before):
            raise DatasetError(
                f"{where}: the chat template rewrites earlier turns, so turn {i + 1} cannot be told apart. "
                "Give each answer a row of its own"
            )
        turns.append((len(before), len(after)))
    return text, turns


def prompt_ids(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of the conversation up to where the assistant is to speak."""
    text = str(tokenizer.apply_chat_template(wire(messages), tokenize=False, add_generation_prompt=True))
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@lru_cache(maxsize=4)
def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Cached: a vocabulary of 150,000 takes a tenth of a second to list."""
    names = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>")
    known = tokenizer.get_vocab()
    ids = [known[name] for name in names if name in known]
    return [*ids, *([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else [])]


def _read(path: Path, digest: Any) -> list[Conversation]:
    rows = read_conversations(path)
    digest.update(path.read_bytes())
    return rows


def _shuffled(rows: Sequence[Conversation], seed: int) -> list[Conversation]:
    import random

    out = list(rows)
    random.Random(seed).shuffle(out)
    return out


def _samples(
    rows: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, settings: FinetuneSettings, overlong: list[str]
) -> list[Sample]:
    from tqdm import tqdm

    out = []
    for row in tqdm(rows, desc="tokens", unit="row", disable=None if len(rows) > 2000 else True, leave=False):
        sample = tokenize(row, tokenizer, settings.assistant_only_loss)
        # Cutting would leave the end of turn untrained; such a row is left out whole, and counted.
        if len(sample) > settings.max_length:
            overlong.append(row.where)
        else:
            out.append(sample)
    return out
