"""The questions there are, as vectors, to tell how near a new one is to them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agents.bank import Question
from agents.examiner.gates import NEAR, text_of

if TYPE_CHECKING:
    from rag.embedding import Floats
    from rag.retriever import Retriever


class Known:
    """Vectors of stem and key, by the questions' ids. Threads may share it."""

    def __init__(self, retriever: Retriever) -> None:
        self._embedder = retriever.embedder
        self._vectors: dict[str, Floats] = {}
        self._lock = threading.RLock()

    def add(self, questions: Sequence[Question]) -> None:
        """Takes in more of them, each in the place of one with its id."""
        if questions:
            vectors = self._embedder.encode([text_of(q) for q in questions], tokens=False)[0]
            with self._lock:
                self._vectors.update(zip((q.id for q in questions), vectors, strict=True))

    def nearest(self, question: Question, but: str = "") -> float:
        """The cosine to the nearest, `but` the one of that id left out; 0 where there is none."""
        vector = self._embedder.encode([text_of(question)], tokens=False)[0][0]
        with self._lock:
            return max((float(held @ vector) for i, held in self._vectors.items() if i != but), default=0.0)

    def join(self, question: Question, but: str = "") -> bool:
        """Takes it in, unless its like came in since it was judged; whether it did."""
        with self._lock:
            if self.nearest(question, but) > NEAR:
                return False
            self.add([question])
            return True
