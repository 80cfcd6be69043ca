"""Which number stands for which conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client.chat_client import ChatClient
    from client.values import Conversation

LISTED = 30
"""How many conversations a list shows."""


class ConversationList:
    """Numbers conversations from 1. A number keeps its meaning until the conversations are listed anew."""

    def __init__(self, client: ChatClient) -> None:
        self._client = client
        self._numbered: list[Conversation] = []

    async def renew(self) -> tuple[list[Conversation], bool]:
        """Numbers the most recently used ones anew; returns them, and whether there are more."""
        self._numbered = []
        async for conversation in self._client.list_conversations(page_size=LISTED + 1):
            if len(self._numbered) == LISTED:
                return list(self._numbered), True
            self._numbered.append(conversation)
        return list(self._numbered), False

    async def numbered(self) -> list[Conversation]:
        """Returns the conversations by their numbers, as they were when they got them."""
        if not self._numbered:
            await self.renew()
        return list(self._numbered)

    async def get(self, number: str) -> Conversation | None:
        """Returns the conversation of a number as it is now; None where the number stands for none."""
        numbered = await self.numbered()
        if number.isascii() and number.isdecimal() and 1 <= int(number) <= len(numbered):
            # It may have grown since it was listed, or be gone.
            return await self._client.get_conversation(numbered[int(number) - 1].name)
        return None

    async def number_of(self, name: str) -> int:
        """Returns a conversation's number; one that has none gets the next."""
        for number, conversation in enumerate(await self.numbered(), 1):
            if conversation.name == name:
                return number
        self._numbered.append(await self._client.get_conversation(name))
        return len(self._numbered)
