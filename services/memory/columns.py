"""What searches filter by, and what tells neighbours: a column each, in order of places."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from services.memory.message import NO_FILTER
from services.memory.terms import query_terms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.memory.message import MessageFilter, MessageRange
    from services.memory.vector import LogStretch

_Named = TypeVar("_Named", bound="str | None")

_COLUMNS = ("ids", "positions", "conversations", "sequences", "times", "_roles", "_authors")
_BYTES_A_MESSAGE = 4 * 8 + 2 * 4 + 1
"""Of all columns: to ask each takes longer, and is done with every search that loads."""


class Columns:
    """The messages of one user's index. A message's place is the number of those added before it."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._terms_of_author: dict[int, frozenset[int]] = {}
        self.ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.positions: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.conversations: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self.sequences: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.times: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._roles: NDArray[np.int8] = np.empty(0, dtype=np.int8)
        self._authors: NDArray[np.int32] = np.empty(0, dtype=np.int32)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return _BYTES_A_MESSAGE * len(self)

    def add(self, new: LogStretch) -> None:
        """Adds messages."""
        code_of = {one: self._code("c", one) for one in set(new.conversations)}
        code_of_author: dict[str | None, int] = {None: -1}
        for author in set(new.authors):
            if author is not None:
                code_of_author[author] = code = self._code("a", author)
                self._terms_of_author.setdefault(code, frozenset(query_terms(author)))
        added = (
            new.message_ids,
            new.positions,
            _coded(new.conversations, code_of),
            new.sequences,
            new.times,
            new.roles,
            _coded(new.authors, code_of_author),
        )
        had = len(self)
        for name, column in zip(_COLUMNS, added, strict=True):
            setattr(self, name, np.concatenate([getattr(self, name), column]) if had else column)

    def places_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the places of messages by their ids, at least one and none twice: -1 where one has no place."""
        found = np.full(len(ids), -1, dtype=np.int64)
        if not len(self):
            return found
        near = np.flatnonzero((self.ids >= ids.min()) & (self.ids <= ids.max()))
        order = np.argsort(ids)
        at = order[np.searchsorted(ids, self.ids[near], sorter=order)]
        same = ids[at] == self.ids[near]
        found[at[same]] = near[same]
        return found

    def move(self, places: NDArray[np.int64], positions: NDArray[np.int64]) -> None:
        """Notes that messages which are there are at other positions of the log now."""
        self.positions[places] = positions

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Takes out the messages that are not marked; those left move up."""
        for name in _COLUMNS:
            setattr(self, name, getattr(self, name)[kept])

    def passing(
        self, conversation_id: str | None, narrowing: MessageFilter, exclude: Sequence[MessageRange]
    ) -> NDArray[np.bool_] | None:
        """Returns which messages are of the conversation, pass the filter and are in no excluded stretch.

        None where all are.
        """
        if conversation_id is None and narrowing == NO_FILTER and not exclude:
            return None
        passes = np.ones(len(self), dtype=np.bool_)
        if conversation_id is not None:
            passes &= self.conversations == self._known_code("c", conversation_id)
        if narrowing.roles:
            passes &= np.isin(self._roles, [int(role) for role in narrowing.roles])
        if narrowing.authors:
            passes &= np.isin(self._authors, [self._known_code("a", author) for author in narrowing.authors])
        if narrowing.start_ns is not None:
            passes &= self.times >= narrowing.start_ns
        if narrowing.end_ns is not None:
            passes &= self.times < narrowing.end_ns
        for stretch in exclude:
            inside = (self.conversations == self._known_code("c", stretch.conversation_id)) & (
                self.sequences >= stretch.start_sequence
            )
            if stretch.end_sequence is not None:
                inside &= self.sequences <= stretch.end_sequence
            passes &= ~inside
        return passes

    def named(self, terms: Sequence[int]) -> NDArray[np.bool_] | None:
        """Returns which messages are by an author of whose name a term is among these; None where none are."""
        codes = [code for code, name in self._terms_of_author.items() if not name.isdisjoint(terms)]
        return np.isin(self._authors, codes) if codes else None

    def _code(self, kind: str, text: str) -> int:
        return self._codes.setdefault(f"{kind}/{text}", len(self._codes))

    def _known_code(self, kind: str, text: str) -> int:
        return self._codes.get(f"{kind}/{text}", -2)  # no row has it


def _coded(values: Sequence[_Named], code_of: Mapping[_Named, int]) -> NDArray[np.int32]:
    """Returns the code of each value."""
    if len(code_of) == 1:
        return np.full(len(values), code_of[values[0]], dtype=np.int32)
    return np.fromiter(map(code_of.__getitem__, values), dtype=np.int32, count=len(values))
