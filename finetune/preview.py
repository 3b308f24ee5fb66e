"""`--dry-run`: the resolved settings, what the run will need, and one row with the trained tokens coloured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from finetune.config import FinetuneSettings
from finetune.dataset import IGNORED, Sample, Split
from finetune.estimate import STEPS, estimate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def show(settings: FinetuneSettings, folder: Path, tokenizer: PreTrainedTokenizerBase, split: Split) -> None:
    """Prints it all; loads none of the base's weights."""
    console = Console(highlight=False)
    console.print(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False).rstrip(), markup=False)
    print(f"rehearsing {STEPS} steps on random weights of that shape …", file=sys.stderr)
    found = estimate(settings, folder, tokenizer, split)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in (
        ("samples", f"{len(split.train):,} to train on, {len(split.validation):,} held out, {len(split.overlong):,} too long"),
        ("rows", f"{found.rows:,} of up to {settings.max_length:,} tokens" + (" (packed)" if settings.packing else "")),
        ("tokens", f"{found.tokens:,}, {found.supervised_tokens:,} of them trained on"),
        ("steps", f"{found.steps:,}"),
        ("parameters", f"{found.trainable:,} trainable of {found.parameters + found.trainable:,} "
                       f"({found.trainable / (found.parameters + found.trainable):.2%})"),
        ("peak memory", f"{found.peak_bytes / 2**30:.2f} GiB"),
        ("time", f"about {_duration(found.seconds)} of training, evaluations aside"),
    ):  # fmt: skip
        table.add_row(name, value)
    console.print()
    console.print(table)
    console.print(
        "\none packed sample, [bold green]trained tokens in green[/]:\n" if settings.packing else "\none sample:\n"
    )
    from finetune.training import Rows

    group = max(Rows(split.train, settings).groups, key=len)
    for sample in group[:3]:
        console.print(coloured(sample, tokenizer))
        console.print("─" * 20)


def coloured(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> Text:
    """The sample's text, special tokens and all, trained tokens green."""
    text = Text()
    runs: list[tuple[bool, list[int]]] = []
    for token, label in zip(sample.input_ids, sample.labels, strict=True):
        trained = label != IGNORED
        if runs and runs[-1][0] == trained:
            runs[-1][1].append(token)
        else:
            runs.append((trained, [token]))
    for trained, ids in runs:
        text.append(str(tokenizer.decode(ids)), style="bold green" if trained else "dim")
    return text


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
