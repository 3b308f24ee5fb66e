"""Shared fixtures: a few real notes, a toy embedder over their words, an index of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from core.paths import ROOT

os.environ.setdefault("HF_HUB_OFFLINE", "1")


_LIVE = "tests/live/"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several workers a file's tests stay together, and so do all live ones, which share a model server."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _LIVE if nodeid.startswith(_LIVE) else nodeid.split("::")[0]

    config.option.loadscopereorder = False  # in the order below
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The live ones first: they take longest."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LIVE))


NOTES = {
    "lora.md": """---
title: LoRA
domain: 2
---
# LoRA

LoRA freezes the base model and trains two small matrices of rank r beside each weight matrix.
With rank 8 on a 4096 by 4096 matrix, LoRA trains 65,536 parameters instead of 16,777,216.

## Merging

A LoRA adapter can be merged into the base weights, after which inference costs nothing extra.
""",
    "triton.md": """---
title: Triton Inference Server
domain: 2
---
# Triton Inference Server

Triton serves models from a model repository over HTTP on port 8000 and gRPC on port 8001.

## Dynamic batching

Dynamic batching joins requests that arrive within max_queue_delay_microseconds into one batch.
""",
    "ethics/bias.md": """---
title: Bias
domain: 5
---
# Bias

Sampling bias arises when the training data does not represent the people the model will serve.
Reweighing gives under-represented groups a larger weight in the loss.
""",
}


@pytest.fixture(scope="session")
def toy_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder that knows the notes' words."""
    from tests import tiny

    return tiny.embedder(tmp_path_factory.mktemp("toy"), NOTES.values())


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder with the notes, fresh for each test."""
    return write_notes(tmp_path / "notes")


def write_notes(folder: Path) -> Path:
    """The notes as files under a folder."""
    for name, text in NOTES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def toy_index(toy_embedder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the notes, for tests that only read it."""
    from rag.building import build
    from rag.config import DenseSettings, IndexSettings

    folder = tmp_path_factory.mktemp("toy-index")
    settings = IndexSettings(dense=DenseSettings(model=str(toy_embedder)))
    build([write_notes(folder / "notes")], folder / "index", settings)
    return folder / "index"


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The measuring data that lies beside the checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "datasets"
    if not folder.is_dir():
        pytest.skip(f"measuring data not found: put it at {folder.name}/ beside the checkout's parent shared/")
    return folder
