"""The backend's search as a retriever."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from client.langchain.connection import ChatbotConnection
from client.values import MessageFilter, Role

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun

    from client.chat_client import ChatClient
    from client.values import Message, SearchHit


class ChatbotRetriever(BaseRetriever):
    """Finds what a user has said and was told, by meaning and by words; the best first.

    A document is a message: `page_content` its text, `id` its resource name. `metadata`, fit for JSON, has
    `conversation`, `message`, `sequence`, `role`, `author` (or None), `create_time` (ISO 8601, UTC); how good it is,
    `score` and `similarity`; why: `word_share`, and the parts of the score `dense`, `lexical` and `prior`, as in
    `client.SearchHit`; and the neighbours that were asked for, `before` and `after`, each with `message`, `role`,
    `author`, `create_time` and `content`.

    `invoke` and `ainvoke` raise `client.ChatbotError`.
    """

    connection: ChatbotConnection = Field(exclude=True, repr=False)
    """To the backend; it stays the caller's to close."""
    user: str | None = None
    """Whose messages; None: those of the backend's single local user."""
    k: int = Field(default=4, ge=1, le=1000)
    """Most documents."""
    conversation: str = ""
    """Only in this one, by its resource name; empty: in all of the user's."""
    roles: tuple[Role, ...] = ()
    """Only what these said; empty: all."""
    authors: tuple[str, ...] = ()
    """Only what was said under these names; empty: all."""
    start_time: datetime | None = None
    """Only messages created then or later."""
    end_time: datetime | None = None
    """Only messages created before then."""
    neighbours: int = Field(default=0, ge=0, le=10)
    """How many messages before and after each found one come with it."""
    recency_half_life: timedelta | None = None
    """Where set, newer messages are preferred, half as much at this age."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        del run_manager
        return self.connection.call(self.user, lambda client: self._find(client, query))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        del run_manager
        return await self.connection.acall(self.user, lambda client: self._find(client, query))

    async def _find(self, client: ChatClient, query: str) -> list[Document]:
        hits = await client.search(
            query,
            limit=self.k,
            conversation=self.conversation,
            narrowing=MessageFilter(self.roles, self.authors, self.start_time, self.end_time),
            neighbours=self.neighbours,
            recency_half_life=self.recency_half_life,
        )
        return [_document(hit) for hit in hits]


def _document(hit: SearchHit) -> Document:
    message = hit.message
    return Document(
        message.content,
        id=message.name,
        metadata={
            "conversation": message.conversation,
            "sequence": message.sequence,
            **_about(message),
            "score": hit.score,
            "similarity": hit.similarity,
            "word_share": hit.word_share,
            "dense": hit.dense,
            "lexical": hit.lexical,
            "prior": hit.prior,
            "before": [_neighbour(one) for one in hit.before],
            "after": [_neighbour(one) for one in hit.after],
        },
    )


def _about(message: Message) -> dict[str, Any]:
    return {
        "message": message.name,
        "role": message.role.name.lower(),
        "author": message.author,
        "create_time": message.create_time.isoformat() if message.create_time else None,
    }


def _neighbour(message: Message) -> dict[str, Any]:
    return {**_about(message), "content": message.content}
