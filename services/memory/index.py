"""One user's messages in memory as search needs them, exactly filtered, and exactly searched save for very many.

Per-user indexes are searched whole: at 10,000 messages that takes about a millisecond, and a filter costs no recall,
which it does in every approximate index. Of more than `LISTED_FROM` messages only those are scored that can be among
the best; where something is filtered, all that pass still are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.memory import ranking
from services.memory.columns import Columns
from services.memory.flat_vectors import FlatVectors, sums_of
from services.memory.held import Held
from services.memory.index_search import IndexSearch
from services.memory.lexical import LexicalIndex
from services.memory.listed_vectors import ListedVectors
from services.memory.moments import Moments
from services.memory.vector import UserLog
from services.memory.vectors import LISTED_FROM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.memory.index_query import IndexQuery, Scored
    from services.memory.vector import LogStretch


_AMISS = 0.5
"""By how much the square of a vector's length may differ from 1."""
_RETAKEN_SHARE = 2
"""Moments are taken anew when as many vectors have come and gone as are one in so many of all."""


class UserIndex:
    """The vectors and terms of one user up to one position of their log.

    Several threads may search it at once, while no other changes it.

    Args:
        dimension: Length of a vector.
        deletion_counter: The user's, as it was when loading began.
    """

    def __init__(self, dimension: int, deletion_counter: int) -> None:
        self.deletion_counter = deletion_counter
        self.last_position = 0
        self._vectors: FlatVectors | ListedVectors = FlatVectors(dimension)
        self._embedded: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
        self._columns = Columns()
        self._lexical = LexicalIndex()
        self._held: Held | None = None
        self._search: IndexSearch | None = None
        self._moments: Moments | None = None
        self._changed = 0  # vectors that came or went since

    def __len__(self) -> int:
        return len(self._columns)

    def has(self, log: UserLog | None) -> bool:
        """Returns whether it has come as far as this log, and no deletion was seen by only one of the two."""
        return (
            log is not None
            and self.deletion_counter == log.deletion_counter
            and self.last_position >= log.last_position
        )

    @property
    def log(self) -> UserLog:
        """How far it has come."""
        return UserLog(self.last_position, self.deletion_counter)

    @property
    def size(self) -> int:
        """Bytes of memory, nearly."""
        held = Held.BYTES_A_MESSAGE * len(self)
        return self._vectors.size + self._embedded.nbytes + self._columns.size + self._lexical.size + held

    @property
    def unfit(self) -> bool:
        """Whether its vectors should be held in another form for their number, which `refit` brings about."""
        count = len(self._vectors)
        if isinstance(self._vectors, ListedVectors):
            return self._vectors.stale or 0 < count < self._changed * _RETAKEN_SHARE
        return count > LISTED_FROM

    def refit(self) -> None:
        """Holds the vectors, if there are any, in the form that is for so many. Takes seconds."""
        vectors = self._vectors
        if not len(vectors):
            return
        places = np.flatnonzero(self._embedded)
        halves = vectors.rows(places)
        self._moments = Moments.of(halves, self._embedded, self.hold().neighbours, ranking.NEIGHBOUR_WEIGHTS)
        self._changed = 0
        self._search = None
        if isinstance(vectors, FlatVectors) or vectors.stale:
            self._vectors = ListedVectors(halves, places)
        else:
            vectors.recentre(halves)

    def add(self, stretch: LogStretch) -> None:
        """Adds vectors and terms: the log's next ones.

        A message without a vector, or with one of zeros, has words alone. One that it has already was embedded anew:
        it stays where it is, and only its vector is another.
        """
        if not len(stretch):
            return
        places, known = self._places(stretch.message_ids)
        new: LogStretch | None = stretch
        if known is not None:
            self._columns.move(places[known], stretch.positions[known])
            new = None if known.all() else stretch.chosen(~known)
        if new is not None:
            self._columns.add(new)
            self._lexical.add(new.terms, new.term_counts)
            self._embedded = np.concatenate([self._embedded, np.zeros(len(new), dtype=np.bool_)])
            self._held = None
        self._put(stretch, places, known)
        self.last_position = int(stretch.positions.max())

    def _places(self, message_ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Returns the places of messages, those of new ones after the last; and which were there, None: none was."""
        count, first = len(message_ids), len(self)
        if first:
            places = self._columns.places_of(message_ids)
            known = places >= 0
            if known.any():
                places[~known] = np.arange(first, first + count - np.count_nonzero(known))
                return places, known
        return np.arange(first, first + count), None

    def _put(self, stretch: LogStretch, places: NDArray[np.int64], known: NDArray[np.bool_] | None) -> None:
        """Gives messages that are there the vectors of a stretch of the log."""
        self._search = None
        rows, embedded = stretch.vectors, stretch.stored
        # Of unit length but for the rounding to half floats, a ten-thousandth at most: or nothing that means anything.
        squares, total_of_all = sums_of(rows)
        total: NDArray[np.float64] | None = total_of_all
        whole = np.abs(squares - 1) < _AMISS
        if not whole.all():
            rows, total = rows[whole], None
            embedded = embedded.copy()
            embedded[stretch.stored] = whole
        if known is not None:
            lost = places[~embedded & self._embedded[places]]
            if len(lost):
                self._vectors.remove(lost)
                self._changed += len(lost)
        if len(rows):
            self._vectors.put(rows, places if len(rows) == len(places) else places[embedded], total)
            self._changed += len(rows)
        self._embedded[places] = embedded

    def keep(self, message_ids: NDArray[np.int64]) -> None:
        """Takes out what is not in the user's log any more, and goes on from the last message that is left.

        Args:
            message_ids: All that are in the log. None is ever another message's.
        """
        kept = np.isin(self._columns.ids, message_ids)
        if not kept.all():
            self._changed += int(np.count_nonzero(self._embedded[~kept]))
            self._vectors.keep(kept)
            self._embedded = self._embedded[kept]
            self._columns.keep(kept)
            self._lexical.keep(kept)
            self._held = self._search = None
        self.last_position = int(self._columns.positions.max(initial=0))

    def search(self, query: IndexQuery) -> list[Scored]:
        """Returns the best hits among the messages that pass, the best first, the newer first where scores are equal.

        Every message of the user is scored; what does not pass is left out after that.
        """
        if not len(self):
            return []
        search = self._search
        if search is None:  # several at once may make the same
            search = self._search = IndexSearch(self.hold(), self._vectors, self._embedded, self._moments)
        return search.search(query)

    def hold(self) -> Held:
        """Makes what is the same for every search, where that is not made yet. Several searches may make the same."""
        if self._held is None:
            self._held = Held(self._columns, self._lexical)
        return self._held
