"""One user's messages in memory as search needs them, exactly filtered, and exactly searched save for very many.

Per-user indexes are searched whole: at 10,000 messages that takes about a millisecond, and a filter costs no recall,
which it does in every approximate index. Of more than `LISTED_FROM` messages only those are scored that can be among
the best; where something is filtered, all that pass still are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from services.memory import ranking
from services.memory.columns import Columns
from services.memory.flat_vectors import FlatVectors, sums_of
from services.memory.lexical import LexicalIndex, Standing
from services.memory.listed_vectors import ListedVectors
from services.memory.message import NO_FILTER, MessageFilter, MessageRange
from services.memory.moments import Moments
from services.memory.neighbours import REACH, Neighbours
from services.memory.vectors import LISTED_FROM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.memory.lexical import Match
    from services.memory.ranking import Recency
    from services.memory.vector import LogStretch, UserLog


_NEAR = 1_000
"""So many of the nearest of very many messages, and of those with the query's words, are scored."""
_AMISS = 0.5
"""By how much the square of a vector's length may differ from 1."""
_RETAKEN_SHARE = 2
"""Moments are taken anew when as many vectors have come and gone as are one in so many of all."""


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """What to look for in a user's index.

    Attributes:
        vector: Of unit length.
        terms: What `terms.query_terms` gives.
        limit: Most hits.
        conversation_id: Only messages of this conversation; None: of all.
        narrowing: Only messages that pass it.
        exclude: No messages of these stretches.
        neighbours: How many messages before and after each hit are named with it.
        recency: How newer messages are preferred; None: not.
        dense_weight: How much similarity counts, where it ordinarily is 1.
    """

    vector: NDArray[np.float32]
    terms: Sequence[int]
    limit: int
    conversation_id: str | None = None
    narrowing: MessageFilter = NO_FILTER
    exclude: Sequence[MessageRange] = ()
    neighbours: int = 0
    recency: Recency | None = None
    dense_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Scored:
    """A message found, by its id, and why.

    Attributes:
        similarity: Cosine of the message's vector and the query's: -1 to 1.
        word_share: Of the query's words, weighted by their rarity, those that the message has: 0 to 1.
        dense: What similarity, that of what stands around it included, gives to the score.
        lexical: What words, the neighbours' included, and the author's name give to the score.
        prior: What the message says beside others, and its age where that counts, gives to the score.
        before: Ids of its neighbours before it, the oldest first.
        after: Ids of its neighbours after it, the oldest first.
    """

    message_id: int
    similarity: float
    word_share: float
    dense: float
    lexical: float
    prior: float
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Held:
    """What is the same for every search until a message comes or goes: made by the first one that needs it."""

    standing: Standing
    fullness: NDArray[np.float32]

    BYTES_A_MESSAGE: ClassVar[int] = 4


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
        self._dimension = dimension
        self._vectors: FlatVectors | ListedVectors = FlatVectors(dimension)
        self._embedded: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
        self._columns = Columns()
        self._lexical = LexicalIndex()
        self._held: _Held | None = None
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

    def precedes(self, log: UserLog) -> bool:
        """Returns whether this log only goes on where it ends."""
        return self.deletion_counter == log.deletion_counter and self.last_position < log.last_position

    @property
    def size(self) -> int:
        """Bytes of memory, nearly."""
        held = (Neighbours.BYTES_A_MESSAGE + Standing.BYTES_A_MESSAGE + _Held.BYTES_A_MESSAGE) * len(self)
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
        self._moments = Moments.of(halves, self._embedded, self.hold().standing.neighbours, ranking.NEIGHBOUR_WEIGHTS)
        self._changed = 0
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
        places = self._columns.places_of(stretch.message_ids)
        known = places >= 0
        if known.any():
            self._columns.move(places[known], stretch.positions[known])
        if not known.all():
            new = stretch.chosen(~known) if known.any() else stretch
            places[~known] = np.arange(len(self), len(self) + len(new))
            self._columns.add(new)
            self._lexical.add(new.terms, new.term_counts)
            self._embedded = np.concatenate([self._embedded, np.zeros(len(new), dtype=np.bool_)])
            self._held = None
        self._put(stretch, places)
        self.last_position = int(stretch.positions.max())

    def _put(self, stretch: LogStretch, places: NDArray[np.int64]) -> None:
        """Gives messages that are there the vectors of a stretch of the log."""
        rows = stretch.vectors
        # Of unit length but for the rounding to half floats, a ten-thousandth at most: or nothing that means anything.
        whole = np.abs(sums_of(rows)[0] - 1) < _AMISS
        embedded = stretch.stored.copy()
        embedded[stretch.stored] = whole
        lost = places[~embedded & self._embedded[places]]
        if len(lost):
            self._vectors.remove(lost)
        if embedded.any():
            self._vectors.put(rows if whole.all() else rows[whole], places[embedded])
        self._embedded[places] = embedded
        self._changed += len(lost) + int(np.count_nonzero(embedded))

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
            self._held = None
        self.last_position = int(self._columns.positions.max(initial=0))

    def search(self, query: IndexQuery) -> list[Scored]:
        """Returns the best hits among the messages that pass, the best first, the newer first where scores are equal.

        Every message of the user is scored; what does not pass is left out after that.
        """
        passes = self._columns.passing(query.conversation_id, query.narrowing, query.exclude)
        if not passes.any():
            return []
        held = self.hold()
        neighbours = held.standing.neighbours
        match = self._lexical.match(query.terms, held.standing)
        vector = np.ascontiguousarray(query.vector, dtype=np.float32)
        sought = ranking.sought(vector, centre := self._vectors.centre)
        weighed = ranking.Weighed(
            similarities=self._similarities(sought, query, passes, match, held),
            usual=float(centre @ sought),
            embedded=self._embedded,
            dense_weight=query.dense_weight,
            match=match,
            named=self._columns.named(query.terms),
            fullness=held.fullness,
            times=self._columns.times,
            neighbours=neighbours,
            recency=query.recency,
            spread=None if self._moments is None else self._moments.along(sought),
        )
        ids = self._columns.ids
        best = ranking.best(weighed, passes, ids, query.limit)
        told = np.array(sorted(place for place in best.places if self._embedded[place]), dtype=np.int64)
        similarity_of = dict(zip(told.tolist(), self._vectors.similarities(vector, told).tolist(), strict=True))

        def scored(place: int, dense: float, lexical: float, prior: float) -> Scored:
            before, after = neighbours.of(place, query.neighbours)
            return Scored(
                int(ids[place]),
                max(-1.0, min(1.0, similarity_of.get(place, 0.0))),
                float(match.share[place]),
                dense,
                lexical,
                prior,
                tuple(int(ids[i]) for i in before),
                tuple(int(ids[i]) for i in after),
            )

        return list(map(scored, best.places, best.dense, best.lexical, best.prior))

    def hold(self) -> _Held:
        """Makes what is the same for every search, where that is not made yet. Several searches may make the same."""
        if self._held is None:
            self._held = self._made()
        return self._held

    def _made(self) -> _Held:
        neighbours = Neighbours(self._columns.conversations, self._columns.sequences)
        fullness = ranking.fullness(self._lexical.rarities(), self._lexical.lengths)
        return _Held(self._lexical.standing(neighbours), fullness)

    def _similarities(
        self, vector: NDArray[np.float32], query: IndexQuery, passes: NDArray[np.bool_], match: Match, held: _Held
    ) -> NDArray[np.float32]:
        """Returns each message's similarity: of very many, those that can matter, and for the others what is usual.

        That of a message without a vector is 0. Where something is filtered, or much is excluded, all that pass can
        matter. Elsewhere those do that are near in meaning or have the query's words; and what stands around all these.
        """
        vectors, embedded = self._vectors, self._embedded
        if isinstance(vectors, FlatVectors):
            return vectors.all_similarities(vector, len(self))
        found = np.zeros(len(self), dtype=np.float32)
        # One place past the last stands for no message.
        wanted = np.zeros(len(self) + 1, dtype=np.bool_)
        filtered = query.conversation_id is not None or query.narrowing != NO_FILTER
        if not filtered and len(passes) - np.count_nonzero(passes) <= _NEAR // 2:
            wanted[vectors.nearest(vector, _NEAR)] = True
            worded = np.flatnonzero(match.fit)
            if len(worded) > _NEAR:
                worded = worded[np.argpartition(match.fit[worded], -_NEAR)[-_NEAR:]]
            wanted[worded] = True
        else:
            wanted[:-1] |= passes
        for before, after in held.standing.neighbours.around(np.flatnonzero(wanted[:-1]), REACH):
            wanted[before] = wanted[after] = True
        chosen = np.flatnonzero(wanted[:-1] & embedded)
        found[embedded] = 0.0 if self._moments is None else self._moments.along(vector)[0]
        found[chosen] = vectors.similarities(vector, chosen)
        return found
