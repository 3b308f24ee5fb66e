"""LangChain as its retrieval tutorial has it: recursive splitter of 1,000 characters, overlap 200, vectors in memory."""

from __future__ import annotations

from importlib.metadata import version

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter

from eval.peers.contract import PASSAGES, Search, run
from eval.peers.contract import Document as Row

CHUNK, OVERLAP = 1000, 200


def index(documents: list[Row], weights: str) -> Search:
    """Splits, embeds and stores."""
    splitter = RecursiveCharacterTextSplitter(chunk_size=CHUNK, chunk_overlap=OVERLAP, add_start_index=True)
    store = InMemoryVectorStore(HuggingFaceEmbeddings(model_name=weights))
    store.add_documents(
        splitter.split_documents(
            [Document(d["text"], metadata={"_id": d["_id"], "title": d.get("title", "")}) for d in documents]
        )
    )

    def search(question: str) -> list[tuple[str, float]]:
        found = store.similarity_search_with_score(question, k=PASSAGES)
        return [(document.metadata["_id"], score) for document, score in found]

    return search


if __name__ == "__main__":
    run(
        index,
        {
            "package": f"langchain-core {version('langchain-core')}, langchain-huggingface {version('langchain-huggingface')}",
            "splitter": f"RecursiveCharacterTextSplitter({CHUNK}, {OVERLAP})",
            "store": "InMemoryVectorStore",
        },
    )
