"""An embedder without weights, for tests: texts that share words are close."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from services.memory.embedder.embedder import Embedded, Embedder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_WORD = re.compile(r"\w+")


class FakeEmbedder(Embedder):
    """Adds up one fixed pseudo-random direction a word, in any script. A word is a token.

    Deterministic: the same text has the same vector in every process.

    Args:
        dimension: Length of a vector.
        id: What the store remembers its vectors under. Vectors of another id are other vectors.
    """

    def __init__(self, dimension: int = 64, id: str = "fake") -> None:  # noqa: A002 - the protocol's own name
        self.dimension = dimension
        self.id = id
        self.reads_russian = True
        self.batches: list[tuple[str, ...]] = []
        """Messages embedded so far, batch by batch."""
        self._direction_of: dict[str, NDArray[np.float32]] = {}

    @override
    def embed_messages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.batches.append(tuple(texts))
        return self._embed(texts)

    @override
    def embed_counted(self, texts: Sequence[str]) -> Embedded:
        return Embedded(self.embed_messages(texts), sum(len(_WORD.findall(text)) for text in texts))

    @override
    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._embed(texts)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            # A text without words is its own only word.
            row[:] = sum(self._direction(word) for word in _WORD.findall(text.casefold()) or [text])
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def _direction(self, word: str) -> NDArray[np.float32]:
        if word not in self._direction_of:
            seed = hashlib.sha256(f"{self.id}/{word}".encode()).digest()
            self._direction_of[word] = np.random.default_rng(list(seed)).standard_normal(
                self.dimension, dtype=np.float32
            )
        return self._direction_of[word]
