"""Files that are there whole or not at all, and JSON lines read with their numbers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import DocumentError, GenlError


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


def read_examples(path: Path, columns: Sequence[str], raises: type[GenlError]) -> list[tuple[str, ...]]:
    """The named columns of a JSON-lines file's rows, as text; the error names the column that a row lacks."""
    try:
        return [tuple(str(row[name]) for name in columns) for _, row in read_jsonl(path, raises)]
    except KeyError as missing:
        raise raises(f"{path}: no file of examples (a row without {missing})") from None


def read_jsonl(path: Path, raises: type[GenlError] = DocumentError) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects of a JSON-lines file; the error names the file and the line that is not one."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise raises(f"{path}:{number}: not JSON ({error.msg} at column {error.colno})") from error
                if not isinstance(row, dict):
                    raise raises(f"{path}:{number}: expected an object, found {type(row).__name__}")
                yield number, row
    except FileNotFoundError:
        raise raises(f"{path}: no such file") from None
    except OSError as error:
        raise raises(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise raises(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8") from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
