"""What the service asks of an embedder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors, and what they cost.

    Attributes:
        rows: One a text.
        tokens: How many the model has read for all of them, those that are put around texts included; None: not known.
    """

    rows: NDArray[np.float32]
    tokens: int | None


class Embedder(Protocol):
    """A model that puts texts of like meaning close together.

    Its calls return float32 rows of unit length, one a text, shape `[len(texts), dimension]`; of zeros where a text
    cannot be embedded at all. They block, and take any text that is not empty, however long. Two threads call at once,
    of which one embeds queries alone and the other never does. They raise EmbedderAway where trying again later may
    help.
    """

    id: str
    """Changes whenever the same text would get another vector: vectors of two ids are never compared."""
    dimension: int
    """Length of a vector."""
    reads_russian: bool
    """Whether it was made for Russian texts too. A model that was not puts all of them close together."""

    def embed_messages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds what is to be found."""

    def embed_counted(self, texts: Sequence[str]) -> Embedded:
        """Embeds what is to be found, and counts the tokens."""
        return Embedded(self.embed_messages(texts), None)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds what is looked for."""

    def close(self) -> None:
        """Gives back what it holds. Not called while it embeds."""
        return  # most hold nothing
