"""Retrieval with verified citations: documents → chunks → FAISS and BM25 → fusion → reranking → grounded answers."""
