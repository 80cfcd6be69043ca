"""What operators are told of a database: what is in it, and what is wrong with it. Names and numbers, never text."""

from __future__ import annotations

from dataclasses import dataclass

from services.memory.resource_name import conversation_name


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it must be; whose and where, as far as that is known."""

    what: str
    user_id: str | None = None
    conversation_id: str | None = None

    def __str__(self) -> str:
        place = "database"
        if self.user_id is not None:
            place = f"user {self.user_id!r}"
        if self.conversation_id is not None:
            place += f", {conversation_name(self.conversation_id)}"
        return f"{place}: {self.what}"


@dataclass(frozen=True, slots=True)
class UserSize:
    """How much one user has. Bytes are those of the texts."""

    user_id: str
    conversations: int
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is in a database.

    Attributes:
        superseded: How many of the messages are.
        text_bytes: Of messages, titles and system prompts, in UTF-8.
        database_bytes: What the database takes on its disk, its write-ahead log left out.
        vectors: How many each embedder has made, the most first.
        pending: Messages that wait to be embedded.
    """

    users: int
    conversations: int
    messages: int
    superseded: int
    text_bytes: int
    database_bytes: int
    vectors: tuple[tuple[str, int], ...]
    pending: int
    largest: tuple[UserSize, ...]
