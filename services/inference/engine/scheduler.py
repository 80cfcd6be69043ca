"""Decides what each step of the engine computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.inference.fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.prefill_budget import PrefillBudget
    from services.inference.engine.sequence import Sequence

_SHARE_OF_OLDEST = 4
"""What part of a step's prompt tokens is for the prompt that has waited longest."""


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens of one sequence that a step computes: those from `begin` up to `end`, and guesses at what comes next."""

    sequence: Sequence
    begin: int
    end: int
    draft: tuple[int, ...] = ()
    """Tokens that may follow the last one."""

    @property
    def completes(self) -> bool:
        """Whether the sequence's next token can be chosen afterwards."""
        return self.end == len(self.sequence.tokens)


class Scheduler:
    """Waiting sequences, whose callers take turns, and running ones, oldest first.

    Every step gives each reply under way its one token, and reads what the budget allows of prompts: those first of
    which the least is left, so that the most replies begin soonest, but always some of the one that has waited longest.

    Args:
        max_running: Most sequences in the batch.
        budget: How many prompt tokens a step may read.
    """

    def __init__(self, max_running: int, budget: PrefillBudget) -> None:
        self._max_running = max_running
        self._budget = budget
        self._waiting: FairQueue[Sequence] = FairQueue()
        self._running: list[Sequence] = []
        self._prefilling: list[Sequence] = []

    @property
    def running(self) -> tuple[Sequence, ...]:
        """The batch."""
        return tuple(self._running)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def all(self) -> tuple[Sequence, ...]:
        """The batch and those that wait."""
        return (*self._running, *self._waiting.items())

    def add(self, sequence: Sequence) -> None:
        """Has a sequence wait, behind those of its caller."""
        self._waiting.add(sequence.request.caller, sequence)

    def admit(self, start: Callable[[Sequence], bool]) -> None:
        """Moves waiting sequences into the batch while it has room.

        Args:
            start: Told of each; False where it cannot run yet. Then all others wait too, but for callers that hold
                less and have not had their turn since: a long one is not overtaken for ever.
        """
        while len(self._running) < self._max_running:
            sequence = self._waiting.first()
            if sequence is None or not start(sequence):
                return
            self._waiting.take()
            self._running.append(sequence)
            self._prefilling.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forgets a sequence, wherever it is."""
        if self._waiting.remove(sequence.request.caller, sequence):
            return
        if sequence in self._running:
            self._running.remove(sequence)
            self._waiting.release(sequence.request.caller)
        if sequence in self._prefilling:
            self._prefilling.remove(sequence)

    def schedule(self) -> list[Work]:
        """Returns the next step's work; empty where nothing runs."""
        works = [Work(s, s.computed, len(s.tokens)) for s in self._running if s not in self._prefilling]
        if not self._prefilling:
            return works
        left = self._budget.tokens(len(works), len(self._prefilling))
        if not left:
            return works
        sizes = {self._prefilling[0]: min(max(left // _SHARE_OF_OLDEST, 1), self._prefilling[0].uncomputed)}
        left -= sizes[self._prefilling[0]]
        for sequence in sorted(self._prefilling, key=lambda s: s.uncomputed):
            more = min(left, sequence.uncomputed - sizes.get(sequence, 0))
            if more > 0:
                sizes[sequence] = sizes.get(sequence, 0) + more
                left -= more
        prompts = [Work(s, s.computed, s.computed + sizes[s]) for s in self._prefilling if s in sizes]
        done = {work.sequence for work in prompts if work.completes}
        self._prefilling = [s for s in self._prefilling if s not in done]
        return [*works, *prompts]
