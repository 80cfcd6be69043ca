"""Why nothing can be embedded."""

from __future__ import annotations


class EmbedderAway(Exception):
    """The embedder cannot be used for the moment. The message is a sentence without any text that it was given.

    Args:
        why: The sentence.
        retry_after: Seconds after which it asked to be tried again; None: it did not.
    """

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class BrokenOff(EmbedderAway):
    """A connection to it ended before its answer did."""


class EmbedderClosed(Exception):
    """What embeds was told to end."""
