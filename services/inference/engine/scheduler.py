"""Decides what each step of the engine computes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.inference.fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.sequence import Sequence

PREFILL_TOKENS_PER_STEP = 512
"""Most prompt tokens that one step reads: longer prompts are read over several steps, between which the replies
under way get their tokens ("chunked prefill", Agrawal et al. 2024, Sarathi-Serve)."""


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens of one sequence that a step computes: those from `begin` up to `end`."""

    sequence: Sequence
    begin: int
    end: int

    @property
    def completes(self) -> bool:
        """Whether the sequence's next token can be chosen afterwards."""
        return self.end == len(self.sequence.tokens)


class Scheduler:
    """Waiting sequences, whose callers take turns, and running ones, oldest first.

    Every step gives each reply under way its one token; prompts share what `PREFILL_TOKENS_PER_STEP` allows, each
    step beginning with the one that got least lately.
    """

    def __init__(self, max_running: int) -> None:
        self._max_running = max_running
        self._waiting: FairQueue[Sequence] = FairQueue()
        self._running: list[Sequence] = []
        self._prefilling: deque[Sequence] = deque()

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
        left = PREFILL_TOKENS_PER_STEP
        for _ in range(len(self._prefilling)):
            if left == 0:
                break
            sequence = self._prefilling.popleft()
            size = min(left, sequence.uncomputed)
            left -= size
            works.append(Work(sequence, sequence.computed, sequence.computed + size))
            if not works[-1].completes:
                self._prefilling.append(sequence)
        return works
