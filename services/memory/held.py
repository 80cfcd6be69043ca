"""What of a user's messages is the same for every search until one comes or goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from services.kernels.table import Memory
from services.memory.neighbours import Neighbours
from services.memory.scoring import Scoring
from services.memory.scoring.index_table import IndexTable
from services.memory.scoring.prepare_kernel import FEW
from services.memory.scoring.tables import IndexField

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.memory.columns import Columns
    from services.memory.lexical import LexicalIndex

_FLOATS = (
    IndexField.COUNTS,
    IndexField.COUNTS_FURTHER,
    IndexField.SCALES,
    IndexField.SCALES_TOGETHER,
)


class Held:
    """Arrays in order of places, made of an index's columns and words at once.

    Args:
        columns: Of the messages, one at least. None comes or goes as long as this is searched by.
        lexical: Of the same.

    Attributes:
        table: What compiled code reads of it; what is known of vectors is yet to be set.
    """

    BYTES_A_MESSAGE: ClassVar[int] = 2 * 8 + 4 * (len(_FLOATS) + 1) + 2

    def __init__(self, columns: Columns, lexical: LexicalIndex) -> None:
        self._count = count = len(columns)
        self.columns = columns
        places, floats = 8 * (count + 1), 4 * count
        self._memory = memory = Memory(2 * places + (len(_FLOATS) + 1) * floats + 2 * count)
        self.table = table = IndexTable(memory)
        table[IndexField.COUNT] = count
        table[IndexField.IDS] = columns.ids
        table[IndexField.POSTINGS] = lexical.postings
        table[IndexField.POSTING_COUNT] = len(lexical.postings)
        table[IndexField.BEFORE] = self._before = memory.take(places)
        table[IndexField.AFTER] = self._after = memory.take(places)
        for field in _FLOATS:
            table[field] = memory.take(floats)
        table[IndexField.FULLNESS] = self._fullness = memory.take(floats)
        table[IndexField.EVERYONE] = memory.take(count)
        table[IndexField.NOBODY] = memory.take(count)
        order = np.lexsort((columns.sequences, columns.conversations))
        said = np.empty(count + FEW)
        Scoring.of_this_machine().prepare(table, order, columns.conversations, lexical.lengths, said)

    @property
    def neighbours(self) -> Neighbours:
        """Of the messages."""
        before, after = (
            self._memory.array(address, self._count + 1, np.int64) for address in (self._before, self._after)
        )
        return Neighbours(before, after)

    @property
    def fullness(self) -> NDArray[np.float32]:
        """How much more than the others each message says, weighed: see `scoring.prepare_kernel`."""
        return self._memory.array(self._fullness, self._count, np.float32)
