"""Real models of toy size, made on the spot and read by the production loaders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def embedder(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """A 2-layer, 32-wide BERT as a sentence-transformers folder, whose vocabulary is the words of `texts`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    bert = folder / "bert"
    _bert(bert, texts, seed, "BertModel")
    transformer = Transformer(str(bert), max_seq_length=128)
    SentenceTransformer(modules=[transformer, Pooling(32, "mean")], device="cpu").save(str(folder / "embedder"))
    return folder / "embedder"


def cross_encoder(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """The same BERT with one output for a pair of texts."""
    _bert(folder, texts, seed, "BertForSequenceClassification")
    return folder


def _bert(folder: Path, texts: Iterable[str], seed: int, kind: str) -> None:
    import torch
    import transformers

    words = sorted({w for text in texts for w in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]), encoding="utf-8"
    )
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(words) + 5,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        num_labels=1,
        initializer_range=0.5,
    )
    getattr(transformers, kind)(config).save_pretrained(folder)
    transformers.BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
