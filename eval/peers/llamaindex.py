"""LlamaIndex with its defaults: `VectorStoreIndex.from_documents`, its sentence splitter of 1,024 tokens, vectors in memory."""

from __future__ import annotations

from llama_index.core import Document as LlamaDocument
from llama_index.core import Settings, VectorStoreIndex, __version__
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

from eval.peers.contract import PASSAGES, Document, Search, run


def index(documents: list[Document], weights: str) -> Search:
    """Titles travel as metadata, which LlamaIndex embeds with each passage."""
    Settings.embed_model = HuggingFaceEmbedding(model_name=weights)
    Settings.llm = None
    held = VectorStoreIndex.from_documents(
        [LlamaDocument(text=d["text"], id_=d["_id"], metadata={"title": d.get("title", "")}) for d in documents]
    )
    retriever = held.as_retriever(similarity_top_k=PASSAGES)

    def search(question: str) -> list[tuple[str, float]]:
        return [(hit.node.ref_doc_id, hit.score) for hit in retriever.retrieve(question)]

    return search


if __name__ == "__main__":
    splitter = {"chunk_size": Settings.chunk_size, "chunk_overlap": Settings.chunk_overlap}
    run(index, {"package": f"llama-index-core {__version__}", "splitter": splitter, "store": "in memory"})
