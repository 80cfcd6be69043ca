"""One turn at a time in a conversation, whichever gateway takes it."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import structlog
from google.protobuf.duration_pb2 import Duration

from chatbot.v1 import memory_service_pb2 as memory_pb
from services.rpc.errors import ChatbotError, ConversationBusy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.gateway.identity import Caller
    from services.gateway.peers import MemoryPeer

_log = structlog.get_logger()

_RETRY_AFTER_SECONDS = 1.0

_LEASE_SECONDS = 15
"""How long a conversation stays busy after its gateway has died."""

_RENEW_SECONDS = 5.0


def busy_error() -> ConversationBusy:
    """Returns what a second turn is told."""
    return ConversationBusy(
        "Another reply of this conversation is being generated; try again when it has ended.",
        retry_after=_RETRY_AFTER_SECONDS,
    )


class Hold:
    """A conversation that is asked for."""

    def __init__(self, taking: asyncio.Task[None]) -> None:
        self._taking = taking

    async def taken(self) -> None:
        """Returns once it is held. Before that nothing may be written.

        Raises:
            ConversationBusy: Another turn holds it.
        """
        try:
            # Not cancelled with its caller: to let it go it has to be known whether it is held.
            await asyncio.shield(self._taking)
        except ConversationBusy:
            raise busy_error() from None


class BusyConversations:
    """The conversations that have a turn under way: those of this process, and, by the memory service, all others'."""

    def __init__(self, memory: MemoryPeer) -> None:
        self._memory = memory
        self._claimed: set[tuple[str, str]] = set()
        self._ending: set[asyncio.Task[None]] = set()

    @contextmanager
    def claim(self, user_id: str, conversation: str) -> Iterator[None]:
        """Holds a conversation against turns of this process. It need not exist yet.

        Raises:
            ConversationBusy: Another turn holds it.
        """
        key = (user_id, conversation)
        if key in self._claimed:
            raise busy_error()
        self._claimed.add(key)
        try:
            yield
        finally:
            self._claimed.discard(key)

    @asynccontextmanager
    async def hold(self, caller: Caller, conversation: str) -> AsyncIterator[Hold]:
        """Holds a stored conversation against turns of all gateways, this one's own included.

        It is asked for at once and not waited for: that is for `Hold.taken`.
        """
        turn_id = str(uuid.uuid4())
        taking = asyncio.create_task(
            self._renew(caller.user_id, conversation, turn_id, caller.time_left()), name="turn-hold"
        )
        renewing = asyncio.create_task(self._keep(taking, caller.user_id, conversation, turn_id), name="turn-lease")
        try:
            yield Hold(taking)
        finally:
            renewing.cancel()
            ending = asyncio.create_task(self._end(taking, caller.user_id, conversation, turn_id), name="turn-end")
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            # Seen through also where the caller has gone: the next turn must not wait for the lease to pass.
            await asyncio.shield(ending)

    async def finish(self) -> None:
        """Waits until every turn that has ended is so for the other gateways, too."""
        while self._ending:
            await asyncio.wait(self._ending)

    async def _renew(self, user_id: str, conversation: str, turn_id: str, time_left: float | None = None) -> None:
        request = memory_pb.HoldTurnRequest(
            user_id=user_id, conversation=conversation, turn_id=turn_id, lease=Duration(seconds=_LEASE_SECONDS)
        )
        await self._memory.call(self._memory.stub.HoldTurn, request, time_left)

    async def _keep(self, taking: asyncio.Task[None], user_id: str, conversation: str, turn_id: str) -> None:
        await asyncio.wait([taking])
        if taking.exception():
            return
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await self._renew(user_id, conversation, turn_id)
            except ChatbotError as failure:  # the next one may succeed before the lease has passed
                _log.warning("a turn could not be held on to", reason=failure.reason)

    async def _end(self, taking: asyncio.Task[None], user_id: str, conversation: str, turn_id: str) -> None:
        await asyncio.wait([taking])
        if taking.exception():
            return  # it was never held
        request = memory_pb.EndTurnRequest(user_id=user_id, conversation=conversation, turn_id=turn_id)
        try:
            await self._memory.call(self._memory.stub.EndTurn, request)
        except ChatbotError as failure:  # it ends by itself, when its lease has passed
            _log.warning("a turn could not be ended", reason=failure.reason)
