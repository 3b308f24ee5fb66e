"""What a message is, learned from committed examples: logistic regression over its sentence embedding, letters and words.

The embedding is the index's own; runs of letters catch misspellings, words and the question mark what embeddings blur.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from core import files

if TYPE_CHECKING:
    from rag.embedding import Floats

    Encode = Callable[[Sequence[str]], Floats]


@dataclass(frozen=True, slots=True)
class _Fitted:
    letters: Any
    words: Any
    model: Any


_FITTED: dict[str, _Fitted] = {}  # of this process, by encoder and examples
_FITTING = threading.Lock()


class Classifier:
    """Fitted at the first message, which takes seconds; `cache` keeps the examples' vectors, of the encoder named."""

    def __init__(self, encode: Encode, examples: Sequence[tuple[str, ...]], cache: Path | None, encoder: str) -> None:
        self._encode, self._cache = encode, cache
        self._texts, self._labels = [text for text, _ in examples], [label for _, label in examples]
        parts = [encoder, *self._texts, *self._labels]
        self._key = hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def chances(self, message: str) -> dict[str, float]:
        """The probability of each label."""
        with _FITTING:
            fitted = _FITTED.get(self._key) or _FITTED.setdefault(self._key, self._fit())
        features = _features(fitted.letters, fitted.words, [message], self._encode([message]))
        found = fitted.model.predict_proba(features)[0]
        return dict(zip(map(str, fitted.model.classes_), map(float, found), strict=True))

    def _fit(self) -> _Fitted:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        plain = [_plain(text) for text in self._texts]
        letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=3)
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=r"(?u)\b\w+\b|\?")
        features = _features(letters.fit(plain), words.fit(plain), self._texts, self._vectors())
        return _Fitted(letters, words, LogisticRegression(C=10.0, max_iter=2000).fit(features, self._labels))

    def _vectors(self) -> Floats:
        import numpy as np

        if self._cache is not None and self._cache.exists():
            try:
                with np.load(self._cache, allow_pickle=False) as kept:
                    if str(kept["key"]) == self._key:
                        vectors: Floats = kept["vectors"]
                        return vectors
            except (OSError, ValueError, KeyError, BadZipFile):
                pass  # a broken cache is made anew
        made = self._encode(self._texts)
        if self._cache is not None:
            with files.replacing(self._cache) as draft:
                np.savez(draft, key=np.array(self._key), vectors=made)
        return made


def _features(letters: Any, words: Any, texts: Sequence[str], vectors: Floats) -> Any:
    from scipy.sparse import csr_matrix, hstack

    plain = [_plain(text) for text in texts]
    return hstack([csr_matrix(vectors), letters.transform(plain), words.transform(plain)]).tocsr()


def _plain(text: str) -> str:
    return re.sub(r"\d+", "0", text.lower())
