"""What a user's index is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from services.memory.message import NO_FILTER, MessageFilter, MessageRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from services.memory.ranking import Recency


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


class Scored(NamedTuple):
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
