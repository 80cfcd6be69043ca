"""The order of hits: by score, the newer message first where two score the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import faiss
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scored:
    """A message's id and its cosine similarity to the query."""

    message_id: int
    similarity: float


def best(index: faiss.Index, query: NDArray[np.float32], limit: int, selector: faiss.IDSelector | None) -> list[Scored]:
    """Returns exactly the best `limit` of an inner-product index.

    FAISS keeps any of several equal scores at the cut; where there are such, all of them are fetched, so that
    the answer is the same each time.

    Args:
        index: Holds ids that grow with age: the newest is the largest.
        query: A unit vector.
        limit: 1 or more.
        selector: Which ids count; None: all.
    """
    rows = query[None, :]
    params = faiss.SearchParameters()
    params.sel = selector
    scores, ids = index.search(rows, min(limit + 1, index.ntotal), params=params)
    scores, ids = scores[0], ids[0]
    found = ids >= 0
    scores, ids = scores[found], ids[found]
    if len(ids) > limit and scores[limit] == scores[limit - 1]:
        just_below = np.nextafter(scores[limit], np.float32(-np.inf), dtype=np.float32)
        _, scores, ids = index.range_search(rows, float(just_below), params=params)
    order = np.lexsort((-ids, -scores))[:limit]
    return [Scored(int(ids[i]), float(np.clip(scores[i], -1.0, 1.0))) for i in order]
