"""Fine-tuning the embedder on toy pairs: it learns, its folded adapter is PEFT's model, and bad pairs are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import DatasetError, IndexStateError, TrainingError
from finetune import run
from finetune.config import EmbedderSettings
from finetune.embedder import train as fit
from finetune.pairs import held_out, read
from rag.embedding import Embedder
from rag.retriever import Retriever

# What a learner may say for a note that uses none of these words. The toy embedder knows them from other notes.
PAIRS = [
    ("a larger weight for requests of a batch", "lora.md", "trains two small matrices of rank r"),
    ("people and groups of the training data", "triton.md", "Dynamic batching joins requests"),
    ("matrices over one port", "ethics/bias.md", "Reweighing gives under-represented groups a larger weight"),
]


def _settings(folder: Path, notes: Path, base: Path, **more: Any) -> EmbedderSettings:
    rows = [{"question": q, "doc_id": d, "quote": quote} for q, d, quote in PAIRS]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {
        "model_name_or_path": str(base), "datasets": [folder / "pairs.jsonl"], "sources": [notes], "lora_r": 4,
        "output_dir": folder / "run", "per_device_train_batch_size": 3, "max_steps": 40, "learning_rate": 3e-3,
        "lora_dropout": 0.0, "save_steps": 20,
    }  # fmt: skip
    return EmbedderSettings.model_validate(given | more)


def train(settings: EmbedderSettings) -> Path:
    return fit(settings, read(settings))


def _found(notes: Path, base: Path, adapter: str) -> list[str]:
    from rag.building import open_embedder
    from rag.config import IndexSettings
    from rag.documents import load_sources

    settings = IndexSettings.model_validate({"dense": {"model": str(base), "adapter": adapter}})
    retriever = Retriever.over(load_sources([notes]), settings, open_embedder(settings))
    return [retriever.search(q, k=1, by="document", stage="dense").hits[0].chunk.doc_id for q, _, _ in PAIRS]


def test_it_finds_what_it_was_taught_and_goes_on_after_a_stop(tmp_path: Path, notes: Path, toy_embedder: Path) -> None:
    settings = _settings(tmp_path, notes, toy_embedder)
    adapter = train(settings)
    taught = [doc_id for _, doc_id, _ in PAIRS]
    assert _found(notes, toy_embedder, "") != taught
    assert _found(notes, toy_embedder, str(adapter)) == taught
    trained = (adapter / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(adapter)
    shutil.rmtree(tmp_path / "run" / "checkpoint-40")
    began = json.loads((tmp_path / "run" / "run.json").read_text())["started"]
    assert (train(settings) / "adapter_model.safetensors").read_bytes() == trained
    assert json.loads((tmp_path / "run" / "run.json").read_text())["started"] == began
    with pytest.raises(TrainingError, match=r"other settings \(learning_rate\)"):
        train(_settings(tmp_path, notes, toy_embedder, learning_rate=1e-3))
    with pytest.raises(TrainingError, match="trained an embedder, not a model"):
        run.adapter_of(tmp_path / "run")


def test_the_folded_adapter_is_pefts_model(tmp_path: Path, notes: Path, toy_embedder: Path) -> None:
    from peft import PeftModel

    adapter = train(_settings(tmp_path, notes, toy_embedder, max_steps=5))
    folded = Embedder(toy_embedder, "toy", adapter=adapter)
    plain = Embedder(toy_embedder, "toy")
    assert folded.fingerprint != plain.fingerprint
    texts = ["LoRA trains two small matrices.", "requests arrive"]
    ours, before = folded.encode(texts)[0], plain.encode(texts)[0]
    plain.model[0].model = PeftModel.from_pretrained(plain.model[0].auto_model, str(adapter))
    assert np.allclose(ours, plain.encode(texts)[0], atol=1e-5)
    assert not np.allclose(ours, before, atol=1e-3)
    with pytest.raises(IndexStateError, match="not a LoRA adapter"):
        Embedder(toy_embedder, "toy", adapter=tmp_path).dim  # noqa: B018


def test_pairs_of_a_held_out_document_are_not_trained_on(tmp_path: Path, notes: Path, toy_embedder: Path) -> None:
    folds = [
        {d for _, d, _ in PAIRS if held_out(d, _settings(tmp_path, notes, toy_embedder, held_out_fold=n))}
        for n in range(5)
    ]
    assert sorted(d for fold in folds for d in fold) == sorted(d for _, d, _ in PAIRS)
    assert not any(held_out(d, _settings(tmp_path, notes, toy_embedder)) for _, d, _ in PAIRS)
    with pytest.raises(ValueError, match="must be less than folds"):
        _settings(tmp_path, notes, toy_embedder, held_out_fold=5)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "", "doc_id": "lora.md", "quote": "rank r"}, "2: needs question and quote"),
        ({"question": "What?", "doc_id": "dora.md", "quote": "rank r"}, "2: no document 'dora.md'"),
        ({"question": "What?", "doc_id": "lora.md", "quote": "rank s"}, "2: lora.md does not hold the quote"),
    ],
)
def test_a_bad_pair_is_named(tmp_path: Path, notes: Path, toy_embedder: Path, row: dict[str, str], said: str) -> None:
    good = {"question": "What?", "doc_id": "lora.md", "quote": "rank r"}
    settings = _settings(tmp_path, notes, toy_embedder)
    (tmp_path / "pairs.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(DatasetError, match=said):
        read(settings)
