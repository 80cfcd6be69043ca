"""What the service asks of a database, whichever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from services.memory.conversation import (
        Conversation,
        ConversationChange,
        ConversationCursor,
        ConversationDraft,
        ConversationPage,
        Counts,
        ImportedConversation,
    )
    from services.memory.inspection import Fault, Statistics
    from services.memory.message import Append, Appended, Message, MessagePage, MessageQuery, MessageRange
    from services.memory.resource_name import MessageName
    from services.memory.store.requests import WriteRequest
    from services.memory.vector import LogStretch, LogWanted, NewVector, Standing, UnembeddedMessage

T = TypeVar("T")


class Store(Protocol):
    """Every message, durably.

    A write has returned only when it is durable, happens whole or not at all, and happens even where its caller
    stops waiting for it. Repeating a `WriteRequest` changes nothing and returns the first outcome (of a
    conversation or message: as it is now). What is not the user's is answered like what does not exist.

    All calls raise `Unavailable` where the database cannot be reached or written to, writes also `Overloaded`
    where too many wait.
    """

    async def create_conversation(self, draft: ConversationDraft, request: WriteRequest) -> Conversation:
        """Starts a conversation.

        Raises:
            ConversationNotFound: The request was carried out before, and the conversation is deleted since.
            RequestIdReused: As for every write: the `request_id` was used for something else.
        """

    async def get_conversation(self, user_id: str, conversation_id: str) -> Conversation:
        """Returns a conversation. Raises ConversationNotFound."""

    async def list_conversations(self, user_id: str, limit: int, after: ConversationCursor | None) -> ConversationPage:
        """Returns up to `limit` conversations past `after`, the most recently written to first."""

    async def conversation_ids(self, user_id: str) -> list[str]:
        """Returns the ids of all conversations of a user, the oldest first."""

    async def update_conversation(
        self, conversation_id: str, change: ConversationChange, request: WriteRequest
    ) -> Conversation:
        """Changes a conversation.

        Raises:
            ConversationNotFound: There is none.
            InvalidArgument: The window would start past the next message.
        """

    async def delete_conversation(self, conversation_id: str, request: WriteRequest) -> None:
        """Deletes a conversation, its text from the database's files too. Raises ConversationNotFound."""

    async def append_messages(self, append: Append, request: WriteRequest) -> Appended:
        """Appends messages.

        Raises:
            ConversationNotFound: There is none, or it was deleted since the request was first carried out.
            MessageNotFound: A `reply_to` names no earlier message of the conversation.
            SequenceMismatch: The conversation's last sequence is not the expected one.
        """

    async def delete_messages(self, wanted: MessageRange, request: WriteRequest) -> int:
        """Deletes messages, and with the last one that is shown their conversation. Returns how many were shown.

        Their text leaves the database's files, too. Raises ConversationNotFound.
        """

    async def list_messages(self, user_id: str, query: MessageQuery) -> MessagePage:
        """Returns a page of a conversation. Raises ConversationNotFound."""

    async def chosen_messages(
        self, user_id: str, choose: Callable[[Standing], Sequence[int]], conversation_id: str | None = None
    ) -> dict[int, Message]:
        """Returns messages of a user that are chosen by what there is to choose from.

        Args:
            user_id: Whose.
            choose: Called off the event loop with the user's standing; returns ids. Those of the user's live messages
                are returned, in the same order, as many as fit one answer.
            conversation_id: Must be the user's, where set.

        Raises:
            ConversationNotFound: It is not.
        """

    async def found_messages(self, user_id: str, find: Callable[[], Sequence[int]]) -> dict[int, Message]:
        """Returns messages of a user as `chosen_messages` does, where how they stand is of no account.

        Args:
            user_id: Whose.
            find: Called off the event loop; returns ids.
        """

    async def messages_by_name(self, user_id: str, names: Sequence[MessageName]) -> tuple[Message, ...]:
        """Returns the live ones of the user's messages, in the order of `names`, as many as fit one answer."""

    async def import_conversations(self, imported: Sequence[ImportedConversation], request: WriteRequest) -> Counts:
        """Stores conversations under new ids."""

    async def delete_user(self, request: WriteRequest) -> Counts:
        """Deletes everything of a user, from the database's files too, and tells how much it was."""

    async def hold_turn(self, user_id: str, conversation_id: str, turn_id: str, lease_ns: int) -> None:
        """Gives a conversation to a turn for so long, or for so much longer where the turn has it already.

        Raises:
            ConversationNotFound: There is none.
            ConversationBusy: Another turn has it.
        """

    async def end_turn(self, user_id: str, conversation_id: str, turn_id: str) -> None:
        """Takes the conversation back from a turn, if that has it. Raises ConversationNotFound."""

    async def read_log(self, user_id: str, wanted: LogWanted, take: Callable[[Standing, LogStretch], T]) -> T:
        """Reads where a user stands, and what follows in their log of vectors; both of one moment.

        Args:
            user_id: Whose.
            wanted: What of the log.
            take: Called once, off the event loop; what it returns is returned.

        Raises:
            ConversationNotFound: `wanted.conversation_id` is not the user's.
        """

    async def logged_messages(self, user_id: str) -> NDArray[np.int64]:
        """Returns the ids of all messages in the user's log, whichever embedder's their vectors are."""

    async def awaited(self, user_id: str, up_to: int, limit: int) -> list[UnembeddedMessage]:
        """Returns messages of a user that nothing is found by yet, up to the id `up_to`, the newest first."""

    async def next_unembedded(self, limit: int, *, awaited: bool = False) -> list[UnembeddedMessage]:
        """Returns messages that this replica is to embed: those that nothing is found by yet before the others.

        Where there are none: those of a replica that has died, and those that are no one's yet.

        Args:
            limit: Most messages.
            awaited: Only those that nothing is found by yet.
        """

    async def count_unembedded(self) -> int:
        """Returns how many messages are to be embedded."""

    async def queue_other_embedders(self, embedder: str) -> None:
        """Queues messages whose vector is not `embedder`'s to be embedded anew."""

    async def put_vectors(self, embedder: str, vector_of: Mapping[int, NewVector], dimension: int) -> None:
        """Stores half-float vectors and terms by message id; those of messages that are gone meanwhile are dropped."""

    async def put_words(self, terms_of: Mapping[int, bytes]) -> None:
        """Stores what `terms.pack_terms` gives of messages, by id: what they are found by until they have a vector."""

    async def remove_expired(self, unwritten_since_ns: int | None) -> int:
        """Deletes some conversations that have expired, and returns how many; 0 where there are no more.

        Args:
            unwritten_since_ns: Conversations last written to before then have expired, too; None: only those past
                their `expire_ns`, which nothing but this and `standing` ever sees.
        """

    async def page_token_key(self) -> bytes:
        """Returns the key that page tokens are made under: the same for all replicas, for good."""

    async def users_after(self, user_id: str, limit: int) -> list[str]:
        """Returns up to `limit` users who have a conversation, past one id (none: empty), in the order of ids."""

    async def statistics(self, largest: int) -> Statistics:
        """Returns how much there is, with the `largest` users who have the most text."""

    async def database_faults(self) -> list[Fault]:
        """Returns what is wrong with the database as such: damage, rows that hang on nothing, records of requests."""

    async def user_faults(self, user_id: str, embedder: str, dimension: int) -> list[Fault]:
        """Returns what is wrong with a user's conversations, and with what `embedder` finds them by."""

    async def queue_unfit(self, embedder: str, dimension: int, *, everything: bool) -> None:
        """Queues what `embedder` has no vector of that can be searched, or everything, to be embedded (anew)."""

    async def import_users(
        self, read: Callable[[], Iterator[tuple[str, ImportedConversation]]], request_id: str
    ) -> Counts:
        """Stores conversations of any number of users under new ids, all or none, holding one at a time.

        Args:
            read: Gives users and conversations, from the first one on; called on another thread, again where a
                failure passes. What it raises ends the import, and nothing is stored.
            request_id: Of messages that come without one.
        """

    async def close(self) -> None:
        """Ends what is under way and closes the database."""
