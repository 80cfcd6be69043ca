"""The search of a user's index as it is: exact, save for very many messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.memory import ranking
from services.memory.flat_vectors import FlatVectors, row_width
from services.memory.index_query import IndexQuery, Scored
from services.memory.message import NO_FILTER
from services.memory.neighbours import REACH
from services.memory.scoring import Scoring
from services.memory.scoring.room import Room, Rooms, RoomSize
from services.memory.scoring.tables import IndexField, Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.memory.held import Held
    from services.memory.listed_vectors import ListedVectors
    from services.memory.moments import Moments

_NEAR = 1_000
"""So many of the nearest of very many messages, and of those with the query's words, are scored."""
_ROOMS = Rooms()


class IndexSearch:
    """Searches an index until a message or a vector comes or goes.

    Args:
        held: What holds until a message does.
        vectors: Of those messages that have one.
        embedded: Which these are.
        moments: Of vectors in lists.
    """

    def __init__(
        self,
        held: Held,
        vectors: FlatVectors | ListedVectors,
        embedded: NDArray[np.bool_],
        moments: Moments | None,
    ) -> None:
        self._columns = held.columns
        self._vectors = vectors
        self._embedded = embedded
        self._moments = moments
        self._held = held
        self._centre = vectors.centre
        self._count, self._dimension = len(held.columns), len(self._centre)
        self._width = row_width(self._dimension)
        self._table = table = held.table.copy()
        table[IndexField.EMBEDDED] = embedded
        table[IndexField.SIZE] = self._width
        if isinstance(vectors, FlatVectors):
            rows, row_of = vectors.held(self._count)
            table[IndexField.ROWS] = rows
            table[IndexField.ROW_COUNT] = len(rows)
            if row_of is not None:
                table[IndexField.ROW_OF] = row_of

    def search(self, query: IndexQuery) -> list[Scored]:
        """Returns what `UserIndex.search` does. Several threads may search at once."""
        passes = self._columns.passing(query.conversation_id, query.narrowing, query.exclude)
        if passes is not None and not passes.any():
            return []
        room = _ROOMS.take(RoomSize(self._count, self._width, len(query.terms), min(query.limit, self._count)))
        try:
            self._fill(room, query, passes)
            return self._found(room, query.neighbours)
        finally:
            _ROOMS.give_back(room)

    def _fill(self, room: Room, query: IndexQuery, passes: NDArray[np.bool_] | None) -> None:
        """Finds the best messages, and what is told of them. All can be found where `passes` is None."""
        sought = ranking.sought(query.vector, self._centre)
        room.query[: self._dimension], room.sought[: self._dimension] = query.vector, sought
        spread = None if self._moments is None else self._moments.along(sought)
        ranking.weigh(room.weights, float(self._centre @ sought), query.dense_weight, spread)
        named = self._columns.named(query.terms)
        recency = query.recency
        prior = None if recency is None else ranking.prior(self._held.fullness, self._columns.times, recency)
        room.ask(query.terms, passes, named, prior, min(query.limit, self._count))
        scoring, vectors = Scoring.of_this_machine(), self._vectors
        if isinstance(vectors, FlatVectors):
            scoring.search(self._table, room)
            return
        scoring.words(self._table, room)
        fit = room.fit[: self._count]
        room.similarities[: self._count] = self._likely(vectors, sought, query, passes, fit)
        scoring.rank(self._table, room)
        places = room.places[: room.found]
        embedded = np.flatnonzero(self._embedded[places])
        rising = embedded[np.argsort(places[embedded])]
        if len(rising):
            room.parts[rising, Part.SIMILARITY] = vectors.similarities(query.vector, places[rising]).clip(-1, 1)

    def _found(self, room: Room, neighbours: int) -> list[Scored]:
        ids, places = self._columns.ids, room.places[: room.found]
        found = zip(ids[places].tolist(), room.parts[: room.found].tolist(), strict=True)
        if not neighbours:
            return [Scored(i, *parts) for i, parts in found]
        held = self._held.neighbours
        around = (held.of(place, neighbours) for place in places.tolist())
        return [
            Scored(i, *parts, *(tuple(ids[side].tolist()) for side in sides))
            for (i, parts), sides in zip(found, around, strict=True)
        ]

    def _likely(
        self,
        vectors: ListedVectors,
        sought: NDArray[np.float32],
        query: IndexQuery,
        passes: NDArray[np.bool_] | None,
        fit: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Returns the similarities of those of very many messages that can matter, and for the others what is usual.

        That of a message without a vector is 0. Where something is filtered, or much is excluded, all that pass can
        matter. Elsewhere those do that are near in meaning or have the query's words; and what stands around all these.

        Args:
            vectors: Of the messages.
            sought: What they are to be similar to.
            query: Which this is of.
            passes: Which can be found; None: all.
            fit: How well they have the query's words.
        """
        found = np.zeros(self._count, dtype=np.float32)
        # One place past the last stands for no message.
        wanted = np.zeros(self._count + 1, dtype=np.bool_)
        filtered = query.conversation_id is not None or query.narrowing != NO_FILTER
        if passes is None or (not filtered and len(passes) - np.count_nonzero(passes) <= _NEAR // 2):
            wanted[vectors.nearest(sought, _NEAR)] = True
            worded = np.flatnonzero(fit)
            if len(worded) > _NEAR:
                worded = worded[np.argpartition(fit[worded], -_NEAR)[-_NEAR:]]
            wanted[worded] = True
        else:
            wanted[:-1] |= passes
        for before, after in self._held.neighbours.around(np.flatnonzero(wanted[:-1]), REACH):
            wanted[before] = wanted[after] = True
        chosen = np.flatnonzero(wanted[:-1] & self._embedded)
        found[self._embedded] = 0.0 if self._moments is None else self._moments.along(sought)[0]
        found[chosen] = vectors.similarities(sought, chosen)
        return found
