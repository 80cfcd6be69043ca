"""Sizes of what is measured, and the texts it is measured with."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from bench.memory.dialogues import dialogues


@dataclass(frozen=True, slots=True)
class Workload:
    """Sizes. Times are seconds."""

    rounds: int
    writers: int
    offered: tuple[int, ...]
    """Messages a second, of all writers together, where they write at their own pace."""
    seconds: float
    """Of each measurement of appends in a round."""
    batch: int
    batch_writers: int
    messages: int
    """Of the user who is searched."""
    callers: int
    searches: int
    """Of each measurement of searches in a round."""
    cold_messages: int
    cold_users: int
    peer_users: int
    peer_searches: int
    """In a round, of each store with each filter."""
    peer_adds: int
    """In a round, of one message each."""
    many_users: int
    messages_each: int

    def described(self) -> dict[str, object]:
        """Returns each size by its name."""
        return {name.replace("_", " "): value for name, value in asdict(self).items()}


FULL = Workload(5, 50, (200, 1_000), 4.0, 100, 4, 10_000, 16, 320, 5_000, 5, 2, 40, 10, 10_000, 100)
QUICK = Workload(1, 10, (100,), 0.3, 20, 2, 400, 4, 16, 200, 1, 2, 4, 2, 50, 20)


def texts() -> list[str]:
    """Returns what people say."""
    return [turn.text for talk in dialogues("report") if talk.language == "en" for turn in talk.turns]


def questions() -> list[str]:
    """Returns what people ask."""
    return [one.text for talk in dialogues("report") if talk.language == "en" for one in talk.questions]
