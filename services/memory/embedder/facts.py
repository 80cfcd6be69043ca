"""What the rest of the service has to know of an embedder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.memory import message_text, terms
from services.memory.embedder.closeness import close_similarity
from services.memory.embedder.russian import is_russian

if TYPE_CHECKING:
    from services.memory.embedder.embedder import Embedder


@dataclass(frozen=True, slots=True)
class EmbedderFacts:
    """What an embedder is, wherever it runs: its `id`, `dimension` and `reads_russian`."""

    model: str
    dimension: int
    reads_russian: bool

    @classmethod
    def of(cls, embedder: Embedder) -> EmbedderFacts:
        """Returns those of an embedder."""
        return cls(embedder.id, embedder.dimension, embedder.reads_russian)

    @property
    def id(self) -> str:
        """Id of what is made of messages: by the embedder, and by how texts and terms are prepared for it."""
        return f"{self.model}/{message_text.RECIPE}/{terms.RECIPE}"

    @property
    def close_similarity(self) -> float:
        """Similarity from which on a message may have to do with a query."""
        return close_similarity(self.model)

    def trusts(self, text: str) -> bool:
        """Returns whether the embedder was made for the language that a text is in, as far as Russian goes."""
        return self.reads_russian or not is_russian(text)
