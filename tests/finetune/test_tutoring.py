"""The committed training set: what the composer gives, split by note, every marker on a source that holds its sentence."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core.errors import DatasetError
from core.exam import LETTERS
from core.paths import CORPUS, ROOT
from finetune.metrics import cited
from finetune.tutoring import SPLITS, compose, splits_of
from rag.prompts import DECLINE

SFT = ROOT / "data/sft"


@pytest.fixture(scope="module")
def samples() -> dict[str, list[dict[str, Any]]]:
    return {split: [json.loads(line) for line in (SFT / f"{split}.jsonl").read_text().splitlines()] for split in SPLITS}


def test_the_committed_files_are_what_the_composer_gives(samples: dict[str, list[dict[str, Any]]]) -> None:
    assert compose(CORPUS, SFT / "originals") == samples


def test_there_are_enough_of_each_kind(samples: dict[str, list[dict[str, Any]]]) -> None:
    assert sum(map(len, samples.values())) >= 1500
    kinds = {"grounded", "refusal", "exam", "condense", "decision", "program"}
    assert all(kinds == {row["kind"] for row in rows} for rows in samples.values())
    ids = [row["id"] for rows in samples.values() for row in rows]
    assert len(set(ids)) == len(ids)
    letters = Counter(row["answer"] for row in samples["train"] if row["kind"] == "exam")
    assert set(letters) == set(LETTERS) and max(letters.values()) == min(letters.values())
    asked = Counter(re.sub(r"-[A-D]$", "", row["id"]) for row in samples["train"] if row["kind"] == "exam")
    assert set(asked.values()) == {4}  # each under every letter


def test_no_note_is_in_two_splits_not_even_as_a_source(samples: dict[str, list[dict[str, Any]]]) -> None:
    seen = {split: {row["note"] for row in rows} for split, rows in samples.items()}
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]

    def sources(split: str) -> set[str]:
        texts = [m["content"] for row in samples[split] for m in row["messages"] if m["role"] == "user"]
        return {block for text in texts for block in re.findall(r"<source id=\d+>\n(.*?)\n</source>", text, re.S)}

    assert not sources("train") & sources("test")


def test_markers_name_sources_that_hold_what_is_said(samples: dict[str, list[dict[str, Any]]]) -> None:
    for rows in samples.values():
        for row in rows:
            reply, asked = row["messages"][-1]["content"], row["messages"][-2]["content"]
            if row["kind"] == "grounded":
                assert sorted(set(cited(reply))) == row["gold"]
                assert max(row["gold"]) <= asked.count("<source id=")
                assert all(re.search(r"\[\d+\]$", s) for s in re.split(r"(?<=\])\s+", reply))
            elif row["kind"] == "refusal":
                least, most = (0, 0) if row["id"].endswith("no-source") else (2, 4)
                assert reply == DECLINE and least <= asked.count("<source id=") <= most
            elif row["kind"] == "exam":
                assert reply.startswith(f"{row['answer']}. ")


def test_a_quote_the_note_does_not_hold_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "corpus/a").mkdir(parents=True)
    (tmp_path / "corpus/a/b.md").write_text("# B\n\nLoRA freezes the base.\n")
    (tmp_path / "originals/a").mkdir(parents=True)
    row = {"kind": "qa", "question": "?", "answer": [{"text": "x", "quote": "LoRA melts the base."}]}
    (tmp_path / "originals/a/b.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DatasetError, match=r"b\.jsonl:1: quotes what the note does not say"):
        compose(tmp_path / "corpus", tmp_path / "originals")


def test_every_folder_has_notes_in_all_splits() -> None:
    found = splits_of([f"{folder}/{n}" for folder in "ab" for n in range(12)])
    assert Counter(found.values()) == {"train": 18, "test": 4, "validation": 2}
