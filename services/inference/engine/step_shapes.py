"""Which shapes there are for steps, and which sequences of a step share one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from services.inference.engine.kv_pages import PAGE_TOKENS, pages_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LEAST_CONTEXT = 256
_LEAST_TOKENS = 16
MOST_PLACES = 4096
"""New tokens of prompts that are computed in one go."""
_MOST_PRODUCTS = 1 << 26
"""Products of queries and keys, of one head of keys, that a go of prompts makes room for."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class StepShape:
    """A rectangle that the sequences of a step are fitted into."""

    rows: int
    """Sequences."""
    tokens: int
    """New ones of each."""
    pages: int
    """Of each, with what is new."""

    @property
    def places(self) -> int:
        """New tokens of all rows."""
        return self.rows * self.tokens

    @property
    def context(self) -> int:
        """Tokens that a row has room for."""
        return self.pages * PAGE_TOKENS


@dataclass(frozen=True, slots=True)
class StepShapes:
    """The shapes for one model: rows, new tokens and context each double from one to the next."""

    most_rows: int
    """Most sequences at the same time."""
    most_context: int
    """Longest sequence, in tokens."""
    queries_a_key: int
    """Query heads that share a head of keys."""
    most_tokens: int
    """Most tokens of all sequences together."""
    context_worth_a_step: int
    """So many tokens of context take as long to read as the weights do."""

    def decode(self) -> list[StepShape]:
        """Returns the shapes of one token a sequence, those first that are met first."""
        tokens = [_LEAST_CONTEXT]
        while tokens[-1] < self.most_context:
            tokens.append(2 * tokens[-1])
        rows = [1]
        while rows[-1] < self.most_rows:
            rows.append(2 * rows[-1])
        shapes = [StepShape(count, 1, self._context(most)) for most in tokens for count in rows]
        # Larger ones are not met: a context doubles at most what is there.
        return [shape for shape in shapes if shape.rows == 1 or shape.rows * shape.context <= 2 * self.most_tokens]

    def decode_shape(self, rows: int, end: int) -> StepShape:
        """Returns the shape for so many sequences of one new token, the longest of which then has `end` tokens."""
        return StepShape(_doubled(1, rows), 1, self._context(end))

    def prefill_shape(self, rows: int, tokens: int, end: int) -> StepShape:
        """Returns the shape for so many sequences with so many new tokens at most; rows are as many as there are."""
        return StepShape(rows, _doubled(_LEAST_TOKENS, tokens), self._context(end))

    def decode_groups(self, items: Sequence[Item], end: Callable[[Item], int]) -> list[list[Item]]:
        """Returns which sequences are computed together.

        All of a group are read as far as its longest: short ones go apart where reading them so far would take longer
        than to read the weights once more.
        """
        ordered = sorted(items, key=end, reverse=True)
        groups: list[list[Item]] = []
        for place, item in enumerate(ordered):
            if groups:
                spared = self._context(end(groups[-1][0])) - self._context(end(item))
                if (len(ordered) - place) * spared * PAGE_TOKENS <= self.context_worth_a_step:
                    groups[-1].append(item)
                    continue
            groups.append([item])
        return groups

    def prefill_groups(
        self, items: Sequence[Item], tokens: Callable[[Item], int], end: Callable[[Item], int]
    ) -> list[list[Item]]:
        """Returns which pieces of prompts are computed together: those of one shape, within what there is room for."""
        ordered = sorted(items, key=lambda item: (self.prefill_shape(1, tokens(item), end(item)).context, tokens(item)))
        groups: list[list[Item]] = []
        shape: StepShape | None = None
        for item in ordered:
            own = self.prefill_shape(1, tokens(item), end(item))
            fits = (
                shape == own
                and (len(groups[-1]) + 1) * own.tokens <= MOST_PLACES
                and (len(groups[-1]) + 1) * own.tokens * own.context * self.queries_a_key <= _MOST_PRODUCTS
            )
            if fits:
                groups[-1].append(item)
            else:
                groups.append([item])
                shape = own
        return groups

    def _context(self, tokens: int) -> int:
        """Returns how many pages a row has whose sequence has so many tokens."""
        return pages_for(min(_doubled(_LEAST_CONTEXT, tokens), self.most_context))


def _doubled(least: int, wanted: int) -> int:
    size = least
    while size < wanted:
        size *= 2
    return size
