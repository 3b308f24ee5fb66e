"""BM25 over Snowball stems, by bm25s (Lù 2024, arXiv:2407.03618)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.config import LexicalSettings

# Code and product names carry meaning in single characters and digits ("C", "F1", "4-bit"), so one-letter tokens stay.
_TOKEN = r"(?u)[^\W_]+"


class Lexical:
    """A BM25 index over texts, addressed by position."""

    def __init__(self, bm25: Any, settings: LexicalSettings, size: int) -> None:
        import logging

        import Stemmer

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it switches its own debug lines on
        self._bm25, self._settings, self.size = bm25, settings, size
        self._stemmer = Stemmer.Stemmer(settings.language)

    @staticmethod
    def build(texts: Sequence[str], settings: LexicalSettings) -> Lexical:
        """Indexes the texts; an empty list is fine."""
        import bm25s

        lexical = Lexical(bm25s.BM25(k1=settings.k1, b=settings.b, method="lucene"), settings, len(texts))
        tokens = lexical.tokens(texts)
        if any(tokens):
            lexical._bm25.index(tokens, show_progress=False)
        else:
            lexical.size = 0
        return lexical

    def save(self, folder: Path) -> None:
        """Writes the index into a new folder."""
        folder.mkdir(parents=True)
        if self.size:
            self._bm25.save(str(folder))

    @staticmethod
    def load(folder: Path, settings: LexicalSettings) -> Lexical:
        """Reads what `save` wrote."""
        import bm25s

        if not any(folder.iterdir()):
            return Lexical(None, settings, 0)
        bm25 = bm25s.BM25.load(str(folder))
        return Lexical(bm25, settings, int(bm25.scores["num_docs"]))

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """Lower-cased, stop-word-free stems of each text."""
        import bm25s

        return list(
            bm25s.tokenize(
                list(texts),
                token_pattern=_TOKEN,
                stopwords="en",
                stemmer=self._stemmer,
                return_ids=False,
                show_progress=False,
            )
        )

    def scores(self, query: str) -> NDArray[np.float32]:
        """BM25 of every text for the query, float32 [size]; zeros where no word is shared."""
        known = [t for t in self.tokens([query])[0] if self.size and t in self._bm25.vocab_dict]
        if not known:
            return np.zeros(self.size, np.float32)
        return np.asarray(self._bm25.get_scores(known), np.float32)
