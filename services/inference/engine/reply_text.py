"""The text of one reply as it grows: pieces in, deltas out, up to its first stop string."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.inference.engine.protocol import Delta
from services.inference.engine.stop_strings import StopStrings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.inference.engine.protocol import TokenLogprob


@dataclass(frozen=True, slots=True)
class _Piece:
    begin: int
    tokens: int
    logprobs: tuple[TokenLogprob, ...]


class ReplyText:
    """Watches one reply for its stop strings.

    A token goes out with the text that completes it, so that a delta's tokens are those of its text; tokens wholly
    within a stop string never go out.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = StopStrings(stops)
        self._waiting: deque[_Piece] = deque()
        self._fed = 0
        self._sent = 0
        self.stop: str | None = None
        """The stop string that ended the reply, where one did."""

    def feed(self, text: str, tokens: int, logprobs: tuple[TokenLogprob, ...]) -> Delta | None:
        """Takes the next text, which may be empty, with its tokens; returns what may go out; None if nothing."""
        self._waiting.append(_Piece(self._fed, tokens, logprobs))
        self._fed += len(text)
        match = self._stops.feed(text)
        self._sent += len(match.text)
        self.stop = match.stop
        if not match.text:
            return None
        taken: list[_Piece] = []
        # A piece that began before the last character sent has a part in what was sent.
        while self._waiting and self._waiting[0].begin < self._sent:
            taken.append(self._waiting.popleft())
        return _delta(match.text, taken)

    def end(self) -> Delta | None:
        """Returns what was held back, where the reply ended other than by a stop string."""
        text = self._stops.end()
        self._sent += len(text)
        taken = list(self._waiting)
        self._waiting.clear()
        return _delta(text, taken)


def _delta(text: str, taken: Sequence[_Piece]) -> Delta | None:
    logprobs = tuple(logprob for piece in taken for logprob in piece.logprobs)
    if not text and not logprobs:
        return None
    return Delta(text, sum(piece.tokens for piece in taken), logprobs)
