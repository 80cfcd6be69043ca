"""An embedder as the event loop sees it: what waits is embedded elsewhere, several texts together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from services.memory.embedder.embedder import Embedded
    from services.memory.embedder.facts import EmbedderFacts


class Kind(Enum):
    """What texts are, which tells with whom they are embedded and who gives way to whom."""

    QUERY = "query"
    """Looked for: somebody waits."""
    MESSAGES = "messages"
    """To be found: it may take its time."""


class AsyncEmbedder(ABC):
    """What the service embeds with.

    Its calls raise EmbedderAway where trying again later may help, and ShuttingDown while it is being closed.

    Attributes:
        facts: Of the embedder.
    """

    facts: EmbedderFacts

    async def embed_messages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds what is to be found: unit rows, one a text."""
        return (await self.embed(Kind.MESSAGES, texts)).rows

    async def embed_counted(self, texts: Sequence[str]) -> Embedded:
        """Embeds what is to be found, and counts the tokens."""
        return await self.embed(Kind.MESSAGES, texts, counted=True)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """Embeds what is looked for: one unit row."""
        row: NDArray[np.float32] = (await self.embed(Kind.QUERY, [text])).rows[0]
        return row

    @abstractmethod
    async def close(self) -> None:
        """Gives back what it holds; what waits is refused."""

    @abstractmethod
    async def embed(self, kind: Kind, texts: Sequence[str], *, counted: bool = False) -> Embedded:
        """Embeds texts of one kind, and counts their tokens where that is asked for."""
