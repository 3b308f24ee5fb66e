"""Texts as vectors: one per passage for the FAISS index, one per token for late-interaction reranking."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import IndexStateError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tqdm import tqdm

Floats = NDArray[np.float32]
ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """Unit vectors of all passages' tokens, quantised to 8 bits with one scale each.

    `values` int8 [tokens, dim], `scales` float16 [tokens], `offsets` int64 [passages + 1]: passage i owns the tokens
    `offsets[i]:offsets[i + 1]`.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float16]
    offsets: NDArray[np.int64]

    def passage(self, i: int) -> Floats:
        """Token vectors of passage i, float32 [tokens, dim]."""
        span = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        return self.values[span].astype(np.float32) * self.scales[span].astype(np.float32)[:, None]


Rows = tuple[NDArray[np.int8], NDArray[np.float16]]  # one passage's token values and scales


def quantise(vectors: Floats) -> Rows:
    """Float vectors [tokens, dim] as int8 values and float16 scales. Error per component is at most half a scale."""
    # The scale is rounded to its stored precision first, so that quantising and restoring use the same number.
    scales = np.maximum(np.abs(vectors).max(axis=1, initial=0.0) / 127, 1e-6).astype(np.float16)
    values = np.clip(np.rint(vectors / scales.astype(np.float32)[:, None]), -127, 127).astype(np.int8)
    return values, scales


def pack(passages: Sequence[Rows], dim: int) -> TokenVectors:
    """Passages' rows laid end to end."""
    offsets = np.concatenate([[0], np.cumsum([len(values) for values, _ in passages])]).astype(np.int64)
    if not passages:
        return TokenVectors(np.zeros((0, dim), np.int8), np.zeros(0, np.float16), offsets)
    return TokenVectors(np.concatenate([v for v, _ in passages]), np.concatenate([s for _, s in passages]), offsets)


def weights_folder(name: str) -> Path:
    """The folder of a registry name's verified weights, fetched when missing; a local folder stands for itself."""
    if Path(name).is_dir():
        return Path(name)
    from serving.weights import ensure

    folder: Path = ensure(name)
    return folder


def fold_in(model: SentenceTransformer, adapter: Path) -> None:
    """Adds a LoRA adapter's products to the weights they belong to. IndexStateError where it is of another model.

    PEFT's own merge gives the same and takes two seconds to import, which every search from a terminal would wait for.
    """
    import json

    from safetensors.torch import load_file

    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(adapter / ADAPTER)
    except (OSError, ValueError) as error:
        raise IndexStateError(f"{adapter}: not a LoRA adapter in PEFT's format ({error})") from None
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
    weights = dict(model[0].auto_model.named_parameters())
    for name in (name for name in tensors if name.endswith(".lora_A.weight")):
        target = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
        product = scale * tensors[name.replace(".lora_A.", ".lora_B.")].float() @ tensors[name].float()
        if target not in weights or weights[target].shape != product.shape:
            raise IndexStateError(f"{adapter}: is of another model, which has {target}. Choose its base as dense.model")
        weights[target].data += product.to(weights[target])


class Embedder:
    """A sentence-transformers model from a folder of verified weights, with a LoRA adapter folded in where one is given.

    Loads on first use.
    """

    def __init__(self, folder: Path, name: str, batch_size: int = 32, adapter: Path | None = None) -> None:
        self.folder, self.name, self.batch_size, self.adapter = folder, name, batch_size, adapter

    @cached_property
    def fingerprint(self) -> str:
        """Name and content hash: vectors of one fingerprint may share an index."""
        weights = sorted(self.folder.glob("*.safetensors")) or sorted(self.folder.glob("*.bin"))
        weights += [self.adapter / ADAPTER] if self.adapter else []
        digest = hashlib.sha256()
        for path in weights:
            with path.open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
        return f"{self.name}@{digest.hexdigest()[:16]}"

    @cached_property
    def model(self) -> SentenceTransformer:
        import os

        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # a bar for a load of under a second
        # Left alone, the tokenizer's own threads compete with torch's for the same cores.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = SentenceTransformer(str(self.folder), device=device, local_files_only=True)
        if self.adapter is not None:
            fold_in(model, self.adapter)
        return model

    @property
    def dim(self) -> int:
        """Vector length."""
        return int(self.model.get_embedding_dimension() or 0)

    def encode(
        self, texts: Sequence[str], bar: tqdm[Any] | None = None, tokens: bool = True
    ) -> tuple[Floats, list[Rows]]:
        """Unit passage vectors float32 [n, dim] and, when asked for, each passage's quantised unit token vectors.

        Longest first, so that a batch holds texts of like length and little padding. Texts past the model's window
        are cut by its tokenizer.
        """
        vectors = np.zeros((len(texts), self.dim), np.float32)
        empty: Rows = (np.zeros((0, self.dim), np.int8), np.zeros(0, np.float16))
        rows = [empty] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        for at in range(0, len(order), self.batch_size):
            batch = order[at : at + self.batch_size]
            pooled, states, mask = self._forward([texts[i] for i in batch])
            vectors[batch] = pooled
            if tokens:
                for row, i in enumerate(batch):
                    rows[i] = quantise(states[row][mask[row]])
            if bar is not None:
                bar.update(len(batch))
        return vectors, rows

    def encode_query(self, text: str) -> tuple[Floats, Floats]:
        """A question's unit vector [dim] and token vectors [tokens, dim], from one pass through the model."""
        pooled, states, mask = self._forward([text])
        return pooled[0], states[0][mask[0]]

    def _forward(self, texts: list[str]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        import torch

        with torch.inference_mode():
            features: dict[str, Any] = self.model.preprocess(texts)
            features = {k: v.to(self.model.device) if torch.is_tensor(v) else v for k, v in features.items()}
            out = self.model(features)
            pooled = torch.nn.functional.normalize(out["sentence_embedding"].float(), dim=-1).cpu().numpy()
            states = torch.nn.functional.normalize(out["token_embeddings"].float(), dim=-1).cpu().numpy()
        return pooled, states, out["attention_mask"].bool().cpu().numpy()
