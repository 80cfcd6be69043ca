"""How much fits one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ANSWER_BYTES = 8_000_000
"""Most bytes of text in one answer: half of what a gRPC message may hold, so that a page always fits one."""


def within_bytes(sizes: Sequence[int]) -> int:
    """Returns how many of the leading items fit one answer: at least one, where there is one."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > MAX_ANSWER_BYTES and count > 0:
            return count
    return len(sizes)
