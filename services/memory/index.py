"""One user's vectors in memory, exactly searched and exactly filtered.

Small per-user indexes are searched whole: at 100,000 vectors that takes 8 ms, and a filter costs no recall, which
it does in every approximate index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import faiss
import numpy as np

from services.memory.ranking import Scored, best

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from services.memory.message import MessageFilter, MessageRange
    from services.memory.vector import StoredVector

_Number = TypeVar("_Number", bound=np.generic)

_BYTES_BESIDE_VECTOR = 96
"""Of one message: the id, its place in the id map, and what is filtered by."""


class UserIndex:
    """The vectors of one user up to one position of their log.

    Not safe for use by several threads at once.

    Args:
        dimension: Length of a vector.
        deletion_counter: The user's, as it was when loading began.
    """

    def __init__(self, dimension: int, deletion_counter: int) -> None:
        self.deletion_counter = deletion_counter
        self.last_position = 0
        self._dimension = dimension
        self._faiss = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
        self._codes: dict[str, int] = {}
        self._ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._conversations: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self._sequences: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._roles: NDArray[np.int8] = np.empty(0, dtype=np.int8)
        self._authors: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self._times: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def size(self) -> int:
        """Bytes of memory, nearly."""
        return len(self) * (self._dimension * 4 + _BYTES_BESIDE_VECTOR)

    def add(self, rows: Sequence[StoredVector]) -> None:
        """Adds vectors: the log's next ones, in order of position."""
        if not rows:
            return
        halves = np.frombuffer(b"".join(row.vector for row in rows), dtype="<f2")
        vectors = halves.reshape(len(rows), self._dimension).astype(np.float32)
        # Half floats are of unit length only nearly; a similarity is a cosine.
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = np.array([row.message_id for row in rows], dtype=np.int64)
        self._faiss.add_with_ids(vectors, ids)
        self._ids = np.concatenate([self._ids, ids])
        self._conversations = _extended(self._conversations, (self._code("c", r.conversation_id) for r in rows))
        self._sequences = _extended(self._sequences, (row.sequence for row in rows))
        self._roles = _extended(self._roles, (row.role for row in rows))
        self._authors = _extended(
            self._authors, (-1 if row.author is None else self._code("a", row.author) for row in rows)
        )
        self._times = _extended(self._times, (row.create_ns for row in rows))
        self.last_position = rows[-1].position

    def search(
        self,
        query: NDArray[np.float32],
        limit: int,
        conversation_id: str | None,
        narrowing: MessageFilter,
        exclude: Sequence[MessageRange],
    ) -> list[Scored]:
        """Returns the best hits among the messages that pass, the best first.

        Args:
            query: A unit vector.
            limit: Most hits.
            conversation_id: Only messages of this conversation; None: of all.
            narrowing: Only messages that pass it.
            exclude: No messages of these stretches.
        """
        passes = self._passing(conversation_id, narrowing, exclude)
        count = int(np.count_nonzero(passes))
        if count == 0:
            return []
        if count == len(self):
            return best(self._faiss, query, limit, None)
        if count <= len(self) // 2:
            return best(self._faiss, query, limit, faiss.IDSelectorBatch(self._ids[passes]))
        # The smaller set is the cheaper one to look ids up in. The selector does not keep its inner one alive.
        left_out = faiss.IDSelectorBatch(self._ids[~passes])
        return best(self._faiss, query, limit, faiss.IDSelectorNot(left_out))

    def _passing(
        self, conversation_id: str | None, narrowing: MessageFilter, exclude: Sequence[MessageRange]
    ) -> NDArray[np.bool_]:
        passes = np.ones(len(self), dtype=np.bool_)
        if conversation_id is not None:
            passes &= self._conversations == self._known_code("c", conversation_id)
        if narrowing.roles:
            passes &= np.isin(self._roles, [int(role) for role in narrowing.roles])
        if narrowing.authors:
            passes &= np.isin(self._authors, [self._known_code("a", author) for author in narrowing.authors])
        if narrowing.start_ns is not None:
            passes &= self._times >= narrowing.start_ns
        if narrowing.end_ns is not None:
            passes &= self._times < narrowing.end_ns
        for stretch in exclude:
            inside = (self._conversations == self._known_code("c", stretch.conversation_id)) & (
                self._sequences >= stretch.start_sequence
            )
            if stretch.end_sequence is not None:
                inside &= self._sequences <= stretch.end_sequence
            passes &= ~inside
        return passes

    def _code(self, kind: str, text: str) -> int:
        return self._codes.setdefault(f"{kind}/{text}", len(self._codes))

    def _known_code(self, kind: str, text: str) -> int:
        return self._codes.get(f"{kind}/{text}", -2)  # no row has it


def _extended(column: NDArray[_Number], values: Iterable[int]) -> NDArray[_Number]:
    return np.concatenate([column, np.fromiter(values, dtype=column.dtype)])
