"""Documents a learner adds: checked, stored under a name of our making, and forgotten on request."""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path

from core.errors import DocumentError
from rag.documents import SUFFIXES, load_file

ALLOWED = SUFFIXES - {".jsonl"}
# Uploads live in a folder of this name, so that their ids never collide with the notes' ids.
FOLDER = "uploads"


def store(source: Path, original_name: str, folder: Path, limit_mib: int) -> Path:
    """Copies a document in after checking its size, type and that it can be read; DocumentError says what is wrong."""
    name = safe_name(original_name)
    size = source.stat().st_size
    if size > limit_mib * 2**20:
        raise DocumentError(f"{name}: {size / 2**20:.1f} MiB, at most {limit_mib} MiB are taken")
    target = folder / FOLDER / name
    if target.exists():
        raise DocumentError(f"{name}: a document of that name is there already. Forget it first, or rename this one")
    target.parent.mkdir(parents=True, exist_ok=True)
    # The draft keeps the suffix, which chooses the reader, and hides from the index by its leading dot.
    draft = target.with_name(f".{name}")
    shutil.copyfile(source, draft)
    try:
        list(load_file(draft, draft.parent))
    except DocumentError as error:
        draft.unlink()
        raise DocumentError(str(error).replace(str(draft), name)) from error
    draft.replace(target)
    return target


def names(folder: Path) -> list[str]:
    """Names of the stored documents."""
    stored = folder / FOLDER
    return (
        sorted(p.name for p in stored.iterdir() if p.is_file() and not p.name.startswith("."))
        if stored.is_dir()
        else []
    )


def forget(folder: Path, name: str) -> None:
    """Deletes a stored document; DocumentError when there is none of that name."""
    if name not in names(folder):
        raise DocumentError(f"{name}: no such document")
    (folder / FOLDER / name).unlink()


def safe_name(original: str) -> str:
    """The last path component, reduced to letters, digits, dots, dashes and underscores, with a known suffix."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFKC", original))[-1]
    stem, dot, ending = last.rpartition(".")
    suffix = (dot + ending).lower()
    if suffix not in ALLOWED:
        raise DocumentError(
            f"{last[:80]}: cannot read {suffix or 'files without a suffix'}. Known: {', '.join(sorted(ALLOWED))}"
        )
    stem = re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:80]
    return f"{stem or 'document'}{suffix}"
