"""Guesses what comes next in a reply from what came next before, so that a step can check it beside the next token.

Prompt lookup decoding (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding), a form of speculative decoding
(Leviathan et al. 2023) that needs no second model: where the last tokens were said before, by anyone in the
conversation, what followed them then is the guess. A step waits for weights to be read, so a few tokens more hardly
lengthen it, and each guess that proves right is a step less. What is said stays the same: a guess is only kept where
the model, asked as ever, chooses that very token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

    import torch

    from services.inference.engine.scheduler import Work
    from services.inference.engine.sequence import Sequence

_LEAST_ALIKE = 2
"""Tokens that must have come one after the other before: what followed a single one seldom follows again."""
_MOST_ALIKE = 4
"""So many alike are as good as more: the last place with them is taken."""
_CHEAP_ROWS = 4
"""Tokens that a step computes in about a sixth more time than one. Beyond them each costs as much again, and pays only
for replies whose last draft proved right: they mostly repeat what was said for a while."""
_MOST_PLACES = 64
"""How many of the last places with the same two tokens are looked at."""


class Drafts:
    """Adds guesses to the steps of one engine.

    Args:
        most: Most tokens that are guessed in one step, over all replies.
        context_tokens: Longest sequence.
    """

    def __init__(self, most: int, context_tokens: int) -> None:
        self._most = most
        self._context = context_tokens

    def add_to(self, works: list[Work]) -> list[Work]:
        """Returns a step's works, each with what may come after it.

        A step that has many tokens of its own gets none: there each token more takes its time.
        """
        rows = sum(work.end - work.begin for work in works)
        if rows > self._most:
            return works
        drafted = []
        for number, work in enumerate(works):
            most = self._most + 1 if work.sequence.draft_held else min(self._most + 1, _CHEAP_ROWS)
            share = -((rows - most) // (len(works) - number))
            draft = guess(work.sequence.tokens, min(share, self._wanted(work.sequence))) if work.completes else ()
            rows += len(draft)
            drafted.append(replace(work, draft=draft) if draft else work)
        return drafted

    def _wanted(self, sequence: Sequence) -> int:
        """Returns how many tokens may still come after the next one."""
        end = min(len(sequence.request.prompt) + sequence.request.sampling.max_tokens, self._context)
        return end - len(sequence.tokens) - 1


@dataclass(frozen=True, slots=True)
class _Drafted:
    """A reply whose next token can be chosen."""

    sequence: Sequence
    row: int
    """Of that token's logits."""
    draft: tuple[int, ...]
    """What the token may be, and those after it: each next row is of the token after one of them."""


class DraftCheck:
    """Which replies' next tokens can be chosen from a step's logits: each one's next, and while its draft proves right.

    Args:
        works: The step's.
    """

    def __init__(self, works: list[Work]) -> None:
        self._rows = 0
        self._drafted: list[_Drafted] = []
        for work in works:
            if work.completes:
                self._drafted.append(_Drafted(work.sequence, self._rows, work.draft))
                self._rows += 1 + len(work.draft)

    @property
    def sequences(self) -> list[Sequence]:
        """Those whose next token is to be chosen now."""
        return [one.sequence for one in self._drafted]

    def rows_of(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns their rows of the step's logits."""
        if self._rows == len(self._drafted):
            # Nobody has a draft.
            return logits
        return logits[[one.row for one in self._drafted]]

    def go_on(self, chosen: list[int], is_under_way: Callable[[Sequence], bool]) -> None:
        """Leaves those under way whose draft began with what was chosen, and counts its token as computed.

        Args:
            chosen: A token for each of `sequences`.
            is_under_way: Whether a sequence has not ended.
        """
        going_on = []
        for one, token in zip(self._drafted, chosen, strict=True):
            if not one.draft:
                continue
            one.sequence.draft_held = token == one.draft[0]
            if one.sequence.draft_held and is_under_way(one.sequence):
                one.sequence.computed += 1
                going_on.append(_Drafted(one.sequence, one.row + 1, one.draft[1:]))
        self._drafted = going_on


def guess(tokens: array[int], most: int) -> tuple[int, ...]:
    """Returns up to `most` tokens that may follow some: what followed where the most of the last ones were said last.

    Args:
        tokens: 64-bit integers.
        most: No more than that; none where it is 0 or less.

    Returns:
        None at all where the last two tokens did not come one after the other before.
    """
    if most <= 0 or len(tokens) <= _LEAST_ALIKE:
        return ()
    followed = _followed(tokens)
    if followed is None:
        return ()
    draft: list[int] = []
    for place in range(followed, followed + most):
        # What follows may reach to the end: then what is repeated goes on repeating.
        draft.append(tokens[place] if place < len(tokens) else draft[place - len(tokens)])
    return tuple(draft)


def _followed(tokens: array[int]) -> int | None:
    """Returns the place after the earlier tokens that are most like the last ones, the later of equals."""
    numbers = np.frombuffer(tokens, dtype=np.int64)
    places = np.flatnonzero((numbers[1:-1] == numbers[-1]) & (numbers[:-2] == numbers[-2])) + 2
    # The array cannot grow while it is looked at like this.
    del numbers
    best, most_alike = None, 0
    for place in islice(reversed(places.tolist()), _MOST_PLACES):
        alike = _LEAST_ALIKE
        while alike < min(_MOST_ALIKE, place) and tokens[place - alike - 1] == tokens[-alike - 1]:
            alike += 1
        if alike > most_alike:
            best, most_alike = place, alike
        if alike == _MOST_ALIKE:
            break
    return best
