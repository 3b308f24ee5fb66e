"""Which checkpoints of a run are whole: each gets a list of its files' sha256 once it is written."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from serving.weights import sha256

SEAL = "whole.json"
log = logging.getLogger(__name__)


def seal(checkpoint: Path) -> None:
    """Writes the hashes, beside and renamed: a checkpoint without them was cut off."""
    found = {p.name: sha256(p) for p in sorted(checkpoint.iterdir()) if p.is_file() and p.name != SEAL}
    draft = checkpoint / f".{SEAL}.tmp"
    draft.write_text(json.dumps(found, indent=1), encoding="utf-8")
    draft.replace(checkpoint / SEAL)


def last_whole(run: Path) -> Path | None:
    """The newest checkpoint whose files are what they were when written. Others are named in a warning and put aside."""
    for checkpoint in sorted(run.glob("checkpoint-*"), key=step_of, reverse=True):
        fault = fault_of(checkpoint)
        if fault is None:
            return checkpoint
        aside = checkpoint.with_name(f"broken-{checkpoint.name}")
        number = 1
        while aside.exists():
            number += 1
            aside = checkpoint.with_name(f"broken-{checkpoint.name}.{number}")
        checkpoint.rename(aside)
        log.warning("%s: %s. Put aside as %s, going back to the one before", checkpoint, fault, aside.name)
    return None


def fault_of(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint in a few words, or None."""
    try:
        hashes = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "was not written to the end"
    for name, wanted in hashes.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256(path) != wanted:
            return f"{name} is damaged"
    return None


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint's name states; -1 where it states none."""
    tail = checkpoint.name.rsplit("-", 1)[-1]
    return int(tail) if tail.isdigit() else -1
