"""Every choice of the retrieval stack, with its default. The manifest stores them, so an index knows how it was made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.config import Settings


class ChunkSettings(Settings):
    """How documents are cut. Sizes are characters (about four to a token)."""

    strategy: Literal["structure", "sentence", "window"] = "structure"
    chunk_chars: int = Field(1000, ge=100, le=20_000)
    overlap_chars: int = Field(150, ge=0, le=5_000)


class DenseSettings(Settings):
    """The embedder and its FAISS index."""

    model: str = "all-minilm-l6-v2"
    adapter: str = ""  # folder of a LoRA adapter for it, from `python -m finetune embedder`
    batch_size: int = Field(32, ge=1)
    index: Literal["flat", "hnsw", "ivfpq", "milvus"] = "flat"
    uri: str = ""  # of a Milvus server, or a file for milvus-lite
    hnsw_m: int = Field(32, ge=4)
    hnsw_ef_search: int = Field(128, ge=8)
    ivf_probes: int = Field(32, ge=1)
    token_vectors: bool = True


class LexicalSettings(Settings):
    """BM25 as in Robertson & Zaragoza (2009), over Snowball stems."""

    language: str = "english"
    k1: float = Field(1.2, gt=0)
    b: float = Field(0.75, ge=0, le=1)


class FusionSettings(Settings):
    """Weights of the normalised scores, and how many candidates each stage hands on."""

    dense: float = 0.5
    bm25: float = 0.5
    bm25_document: float = 0.3
    candidates: int = Field(200, ge=1)
    best_of: int = Field(3, ge=1)
    best_of_share: float = 0.3


class RerankSettings(Settings):
    """`late-interaction` needs no further weights; `cross-encoder` takes `model` from the registry."""

    kind: Literal["late-interaction", "cross-encoder", "none"] = "late-interaction"
    model: str = "bge-reranker-v2-m3"
    candidates: int = Field(40, ge=1)
    weight: float = Field(1.5, ge=0)


class IndexSettings(Settings):
    """All of the above: `rag build --config FILE` reads this."""

    chunking: ChunkSettings = ChunkSettings()
    dense: DenseSettings = DenseSettings()
    lexical: LexicalSettings = LexicalSettings()
    fusion: FusionSettings = FusionSettings()
    reranking: RerankSettings = RerankSettings()


class AnswerSettings(Settings):
    """How an answer is written and what counts as support."""

    sources: int = Field(4, ge=1, le=12)
    source_chars: int = Field(1000, ge=200)
    max_tokens: int = Field(256, ge=16)
    support: float = Field(0.5, ge=0, le=1)
    history_turns: int = Field(6, ge=0)
