"""What of a model's attention is fixed, and how its keys and values lie in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.kernels.emitter import LANES, int64

if TYPE_CHECKING:
    from services.kernels.emitter import Emitter, Value

BLOCK = LANES
"""Tokens whose keys lie together, and whose values do."""
FOUR = 4
"""8-bit integers that one instruction multiplies and adds up: of a head's numbers in keys, of tokens in values."""
GROUP = 32
"""A head's numbers that share a scale, in keys and in queries."""
TILE = 4 * BLOCK
"""Tokens whose weights share a unit, of one query."""
QUERIES_AT_ONCE = 12
"""Queries that are read for together."""
SCORED_AT_ONCE = 6
"""Of these, queries that are held against some blocks of keys at once: their sums are in registers."""
BLOCKS_AT_ONCE = 2
"""Blocks of keys that these are held against, where they are many: what is read of a query serves all of them."""
SUMS_AT_ONCE = 12
"""Vectors of results that are in registers while values are read, beside as many sums of a tile."""
LOWEST = -1.0e30
"""Less than any score, and still a number when it is multiplied by a scale."""

GROUP_BYTES = BLOCK * GROUP + 4 * BLOCK
"""Of a block's keys: integers of a group of a head's numbers, shape `(8, 16, 4)`, then each token's scale."""


def block_bytes(head_size: int) -> int:
    """Returns the bytes of a block: keys, group after group, or values as integers, `(4, D, 4)`, and then scales."""
    return GROUP_BYTES * (head_size // GROUP)


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What is fixed for a model."""

    heads: int
    kv_heads: int
    head_size: int
    """A multiple of 32."""
    scale: float
    cap: float | None
    """Products are squeezed to within ± this by `tanh`; None: not."""
    heads_normed: bool
    epsilon: float

    @property
    def shared_by(self) -> int:
        """Query heads to a head of keys."""
        return self.heads // self.kv_heads

    @property
    def outputs(self) -> int:
        """Queries, keys and values of one token: numbers."""
        return (self.heads + 2 * self.kv_heads) * self.head_size

    @property
    def attended(self) -> int:
        """What attention gives for one token: numbers."""
        return self.heads * self.head_size

    @property
    def groups(self) -> int:
        """Of a head's numbers."""
        return self.head_size // GROUP

    @property
    def query_bytes(self) -> int:
        """What a rounded query takes: 8-bit integers, then what the next four say."""
        return self.top + 4 * LANES

    @property
    def ratios(self) -> int:
        """Where it has floats: its first group's scale, then each other group's divided by that."""
        return self.head_size

    @property
    def offsets(self) -> int:
        """Where it has -128 times the sum of each group's integers: keys are held 128 too large."""
        return self.ratios + 4 * self.groups

    @property
    def addend(self) -> int:
        """Where it has what is added to its scores, so that the largest is 0: a float."""
        return self.offsets + 4 * self.groups

    @property
    def top(self) -> int:
        """Where it has a vector the largest lane of which is the largest of its scores of inner tokens."""
        return self.addend + 4

    @property
    def parts(self) -> int:
        """Vectors to a head."""
        return self.head_size // LANES

    @property
    def rows_at_once(self) -> int:
        """Tokens of one sequence that are computed together, where there are so many."""
        return max(1, QUERIES_AT_ONCE // self.shared_by)


def block_at(emitter: Emitter, shape: AttentionShape, cached: Value, token: Value) -> Value:
    """Returns the address of the block that a token is in, where the first token's block is at `cached`."""
    build = emitter.build
    return emitter.at(cached, build.mul(build.sdiv(token, int64(BLOCK)), int64(block_bytes(shape.head_size))))
