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
"""Tokens whose weights share a scale, of one query."""
SCORES_AT_ONCE = 12
"""Queries that are held against a vector of keys at once: their sums are in registers."""


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
        """What a rounded query takes: 8-bit integers, then floats, each group's scale; and what the next two say."""
        return self.factor + 4

    @property
    def offsets(self) -> int:
        """Where it has -128 times the sum of each group's integers: keys are held 128 too large."""
        return self.head_size + 4 * self.groups

    @property
    def factor(self) -> int:
        """Where it has what its weights are multiplied by, so that their sum is one: a float."""
        return self.offsets + 4 * self.groups

    @property
    def parts(self) -> int:
        """Vectors to a head."""
        return self.head_size // LANES

    @property
    def rows_at_once(self) -> int:
        """Tokens of one sequence that are computed together, where there are so many."""
        return max(1, SCORES_AT_ONCE // self.shared_by)


def block_at(emitter: Emitter, shape: AttentionShape, cached: Value, token: Value) -> Value:
    """Returns the address of the block that a token is in, where the first token's block is at `cached`."""
    build = emitter.build
    return emitter.at(cached, build.mul(build.sdiv(token, int64(BLOCK)), int64(block_bytes(shape.head_size))))
