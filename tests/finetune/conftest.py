"""A toy chat model and a toy data set, made once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import tiny
from tests.conftest import NOTES


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2-layer Llama with a ChatML template."""
    return tiny.chat_model(tmp_path_factory.mktemp("chat"), NOTES.values())


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 short conversations of different lengths."""
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    words = " ".join(NOTES.values()).split()
    with path.open("w") as file:
        for i in range(48):
            turns = []
            for turn in range(1 + i % 2):
                turns.append({"role": "user", "content": " ".join(words[i + turn : i + turn + 3 + i % 7])})
                turns.append({"role": "assistant", "content": " ".join(words[i + 9 : i + 12 + i % 11])})
            file.write(json.dumps({"messages": turns, "note": f"n{i % 8}"}) + "\n")
    return path
