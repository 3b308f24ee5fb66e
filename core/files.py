"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft beside `path`, for a file or a folder, that takes its place when the block ends well and else goes.

    The draft keeps the suffix, which some writers insist on, and hides behind a leading dot. Parents are made. A file
    replaces an older one; a folder must not be there yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".draft-{os.getpid()}-{path.name}")
    _remove(draft)
    try:
        yield draft
        if draft.is_file():
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        else:
            draft.rename(path)
    finally:
        _remove(draft)


def write(path: Path, text: str) -> None:
    """Replaces a file's text."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
