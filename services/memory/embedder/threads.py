"""The threads that embed: one for queries, for which somebody waits, and one for messages, which gives way to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.memory import message_text, terms
from services.memory.embedder.closeness import close_similarity
from services.memory.embedder.embedder import Embedded
from services.memory.embedder.russian import is_russian
from services.memory.embedder.worker import EmbedderWorker

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from services.memory.embedder.embedder import Embedder


class EmbedderThreads:
    """Embeds off the event loop.

    Args:
        embedder: Called from these two threads alone.
        batch_size: Most texts that are embedded at once.
    """

    def __init__(self, embedder: Embedder, batch_size: int) -> None:
        self._embedder = embedder
        self._queries = EmbedderWorker(
            "query", lambda texts, _: Embedded(embedder.embed_queries(texts), None), batch_size, background=False
        )
        self._messages = EmbedderWorker("messages", self._embed_messages, batch_size, background=True)

    @property
    def id(self) -> str:
        """As `made_by` gives it."""
        return made_by(self._embedder)

    @property
    def model(self) -> str:
        """Id of the embedder itself."""
        return self._embedder.id

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._embedder.dimension

    @property
    def close_similarity(self) -> float:
        """Similarity from which on a message may have to do with a query."""
        return close_similarity(self._embedder.id)

    def trusts(self, text: str) -> bool:
        """Whether the embedder was made for the language that a text is in, as far as Russian goes."""
        return self._embedder.reads_russian or not is_russian(text)

    async def embed_messages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds what is to be found: unit rows, one a text."""
        return (await self._messages.run(texts)).rows

    async def embed_counted(self, texts: Sequence[str]) -> Embedded:
        """Embeds what is to be found, and counts the tokens."""
        return await self._messages.run(texts, counted=True)

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """Embeds what is looked for: one unit row."""
        row: NDArray[np.float32] = (await self._queries.run([text])).rows[0]
        return row

    async def close(self) -> None:
        """Ends the threads after the batches they are at; what waits is refused."""
        await self._queries.close()
        await self._messages.close()
        self._embedder.close()

    def _embed_messages(self, texts: Sequence[str], counted: bool) -> Embedded:
        if counted:
            return self._embedder.embed_counted(texts)
        return Embedded(self._embedder.embed_messages(texts), None)


def made_by(embedder: Embedder) -> str:
    """Returns the id of what is made of messages: by the embedder, and by how texts and terms are prepared for it."""
    return f"{embedder.id}/{message_text.RECIPE}/{terms.RECIPE}"
