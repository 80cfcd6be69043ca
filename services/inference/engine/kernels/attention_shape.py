"""What of a model's attention is fixed, and how its keys and values lie in memory."""

from __future__ import annotations

from dataclasses import dataclass

from services.inference.engine.kernels.emitter import LANES

KEY_BLOCK = LANES
"""Tokens whose keys lie together."""
PAIR = 4
"""Bytes of two bf16 numbers."""
SCORES_AT_ONCE = 12
"""Queries that are held against a vector of keys at once: their sums are in registers."""


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
    def parts(self) -> int:
        """Vectors to a head."""
        return self.head_size // LANES

    @property
    def rows_at_once(self) -> int:
        """Tokens of one sequence that are computed together, where there are so many."""
        return max(1, SCORES_AT_ONCE // self.shared_by)
