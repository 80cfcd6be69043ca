"""Users' indexes in memory, coherent with the database by log position, the least recently used dropped first."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from services.memory import measures
from services.memory.index import UserIndex
from services.memory.off_loop import off_loop
from services.memory.shared_lock import SharedLock
from services.memory.vector import LogWanted
from services.rpc.errors import ChatbotError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.memory.store import Store
    from services.memory.vector import LogStretch, Standing, UserLog

_PAGE = 5_000


@dataclass(slots=True)
class _Slot:
    """A user's place in the cache. The lock is held alone while the index is brought up to date, by searches together.

    Attributes:
        size: Bytes that the index had when it was last counted.
        behind: Whether the user has written since the index was last brought up to date, as far as this process knows.
    """

    lock: SharedLock = field(default_factory=SharedLock)
    index: UserIndex | None = None
    size: int = 0
    behind: bool = False


class _Lent(AbstractAsyncContextManager[UserIndex | None]):
    """An index that is searched, maybe by several. Every search is one: a generator would take twice as long."""

    __slots__ = ("_slot",)

    def __init__(self, slot: _Slot) -> None:
        self._slot = slot

    @override
    async def __aenter__(self) -> UserIndex | None:
        await self._slot.lock.take(alone=False)
        return self._slot.index

    @override
    async def __aexit__(self, *_failure: object) -> None:
        self._slot.lock.give_back(alone=False)


class _UpToDate(AbstractAsyncContextManager[UserIndex | None]):
    """A whole index that one borrower has alone: every search of what was not in memory is one."""

    __slots__ = ("_give_back", "_slot", "_take")

    def __init__(self, take: Callable[[], Awaitable[_Slot]], give_back: Callable[[_Slot], None]) -> None:
        self._take = take
        self._give_back = give_back

    @override
    async def __aenter__(self) -> UserIndex | None:
        self._slot = await self._take()
        return self._slot.index

    @override
    async def __aexit__(self, *_failure: object) -> None:
        self._give_back(self._slot)


class IndexCache:
    """Gives users' indexes.

    Args:
        store: Where vectors are.
        embedder: Id of the embedder whose vectors are searched.
        dimension: Of its vectors.
        max_bytes: Most memory for indexes. One index may be larger; it is then the only one.
    """

    def __init__(self, store: Store, embedder: str, dimension: int, max_bytes: int) -> None:
        self._store = store
        self._embedder = embedder
        self._dimension = dimension
        self._max_bytes = max_bytes
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self.size = 0
        """Bytes that indexes take."""

    @property
    def capacity(self) -> int:
        """Most bytes that they may take."""
        return self._max_bytes

    def users(self) -> list[str]:
        """Returns whose indexes are held, the least recently used first."""
        return [user_id for user_id, slot in self._slots.items() if slot.index is not None]

    async def follow_deletion(self, user_id: str) -> None:
        """Takes what was deleted out of a user's index, if that is held; drops it where the database cannot be read."""
        if user_id not in self._slots:
            return
        try:
            await self.load(user_id)
        except ChatbotError:
            self._drop(user_id)

    def note_writing(self, user_id: str) -> None:
        """Notes that a user has written: their index is not whole any more."""
        slot = self._slots.get(user_id)
        if slot is not None:
            slot.behind = True

    def is_whole(self, user_id: str) -> bool:
        """Tells whether a user's index is in memory and whole, as far as this process knows: others may write too."""
        slot = self._slots.get(user_id)
        return slot is not None and slot.index is not None and not slot.behind

    async def load(self, user_id: str, conversation_id: str | None = None) -> Standing:
        """Brings a user's index up to date, and returns where they stood then: without a log, there is no index.

        Args:
            user_id: Whose.
            conversation_id: Must be the user's, where set.

        Raises:
            ConversationNotFound: It is not.
        """
        slot = await self._taken(user_id)
        try:
            return await self._refresh(user_id, slot, conversation_id)
        finally:
            self._give_back(user_id, slot)

    def as_it_is(self, user_id: str) -> AbstractAsyncContextManager[UserIndex | None]:
        """Lends a user's index to be searched, however far it has come; None where it is not in memory."""
        slot = self._slots.get(user_id)
        if slot is None:
            return nullcontext()
        self._slots.move_to_end(user_id)
        return _Lent(slot)

    def up_to_date(self, user_id: str, known: UserLog | None = None) -> AbstractAsyncContextManager[UserIndex | None]:
        """Lends a user's index, whole as of now, to one borrower at a time; None where there is no vector.

        Args:
            user_id: Whose.
            known: Where set, how far the log has come, as just read: an index that has come so far is lent as it is.
        """
        return _UpToDate(partial(self._take_whole, user_id, known), partial(self._give_back, user_id))

    async def _take_whole(self, user_id: str, known: UserLog | None) -> _Slot:
        slot = await self._taken(user_id)
        try:
            if slot.index is None or not slot.index.has(known):
                await self._refresh(user_id, slot)
        except BaseException:
            self._give_back(user_id, slot)
            raise
        return slot

    async def _taken(self, user_id: str) -> _Slot:
        """Returns a user's place, which the caller has alone until `_give_back`."""
        slot = self._slots.setdefault(user_id, _Slot())
        self._slots.move_to_end(user_id)
        try:
            await slot.lock.take(alone=True)
        except BaseException:
            self._drop_unused(user_id, slot)
            raise
        return slot

    def _give_back(self, user_id: str, slot: _Slot) -> None:
        slot.lock.give_back(alone=True)
        self._drop_unused(user_id, slot)

    def _drop_unused(self, user_id: str, slot: _Slot) -> None:
        """Drops a place in which there is no index after all."""
        if slot.index is None and not slot.lock.held and self._slots.get(user_id) is slot:
            self._drop(user_id)

    async def _refresh(self, user_id: str, slot: _Slot, conversation_id: str | None = None) -> Standing:
        """Takes what was added to the user's log since the last time, and takes out what was taken out of it."""
        slot.behind = False  # what is written from here on may be missed
        index = slot.index
        lookup: measures.Lookup = "miss" if index is None else "hit"
        while True:
            # Where an index is made, the stretch follows from the beginning.
            wanted = LogWanted(self._embedder, None if index is None else index.log, _PAGE, conversation_id)
            standing, index, whole = await self._store.read_log(user_id, wanted, partial(self._take, index))
            if index is None or whole:
                break
            if standing.log is not None and index.deletion_counter != standing.log.deletion_counter:
                lookup = "stale"
                # What is deleted between the two reads is taken out twice, once now and once next time.
                await off_loop(index.keep, await self._store.logged_messages(user_id))
                index.deletion_counter = standing.log.deletion_counter
        if index is not None:
            measures.looked_up(lookup)
            if index.unfit:
                await off_loop(index.refit)
        slot.index = index
        self._count(slot, user_id)
        return standing

    def _take(
        self, index: UserIndex | None, standing: Standing, stretch: LogStretch
    ) -> tuple[Standing, UserIndex | None, bool]:
        """Takes a stretch of the log into an index, or a new one; on the thread that has read it.

        Returns:
            Where the user stands, the index where there is one, and whether nothing is left to be done.
        """
        log = standing.log
        if log is None:
            return standing, None, True
        if index is None:
            index = UserIndex(self._dimension, log.deletion_counter)
        if index.deletion_counter != log.deletion_counter:
            return standing, index, False
        index.add(stretch)
        if len(stretch) == _PAGE:
            return standing, index, False
        # Positions past the last row were taken out or are another embedder's.
        index.last_position = max(index.last_position, log.last_position)
        # What the next search needs of it is made here, where mostly the query is being embedded meanwhile.
        index.hold()
        return standing, index, True

    def _count(self, slot: _Slot, user_id: str) -> None:
        """Counts the bytes of a user's index anew, and drops others' where they have become too many."""
        if self._slots.get(user_id) is not slot:
            return  # dropped while it was lent
        before, slot.size = slot.size, 0 if slot.index is None else slot.index.size
        self.size += slot.size - before
        if slot.size > before and self.size > self._max_bytes:
            self._evict(user_id)
        self._note()

    def _evict(self, keep: str) -> None:
        """Drops the least recently searched indexes that nobody has, until the others fit."""
        # Looked for one by one: a list of all would be thousands of objects, among which Python looks for garbage.
        dropped, left = [], self.size
        for user_id, slot in self._slots.items():
            if left <= self._max_bytes:
                break
            if user_id != keep and slot.index is not None and not slot.lock.held:
                dropped.append(user_id)
                left -= slot.size
        for user_id in dropped:
            self._drop(user_id)
            measures.CACHE_EVICTIONS.inc()

    def _drop(self, user_id: str) -> None:
        slot = self._slots.pop(user_id, None)
        if slot is not None:
            self.size -= slot.size
            self._note()

    def _note(self) -> None:
        measures.CACHE_BYTES.set(self.size)
        # A place without an index is one that is being filled, or given up: to look at each would take long.
        measures.CACHE_USERS.set(len(self._slots))
