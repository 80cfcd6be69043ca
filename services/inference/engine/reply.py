"""The text of one reply as it grows: tokens in, deltas out."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from services.inference.engine.detokenizer import Detokenizer
from services.inference.engine.protocol import Delta
from services.inference.engine.stop_strings import StopStrings

if TYPE_CHECKING:
    from services.inference.engine.protocol import TokenLogprob
    from services.inference.engine.vocabulary import Vocabulary


class Reply:
    """Detokenizes one reply and watches for its stop strings.

    A token goes out with the text that completes it, so that a delta's tokens are those of its text; tokens wholly
    within a stop string never go out.
    """

    def __init__(self, vocabulary: Vocabulary, stops: tuple[str, ...]) -> None:
        self._detokenizer = Detokenizer(vocabulary)
        self._stops = StopStrings(stops)
        self._waiting: deque[tuple[int, TokenLogprob | None]] = deque()
        self._decoded = 0
        self._sent = 0
        self.stop: str | None = None
        """The stop string that ended the reply, where one did."""

    def feed(self, token: int, logprob: TokenLogprob | None) -> Delta | None:
        """Takes the next token and returns what may go out; None where that is nothing."""
        text = self._detokenizer.feed(token)
        begin = self._decoded
        self._decoded += len(text)
        self._waiting.append((begin, logprob))
        match = self._stops.feed(text)
        self._sent += len(match.text)
        self.stop = match.stop
        if match.stop is None and not match.text:
            return None
        return self._release(match.text)

    def end(self) -> Delta | None:
        """Returns what was held back, where the reply ended other than by a stop string."""
        text = self._stops.end()
        self._sent += len(text)
        taken = list(self._waiting)
        self._waiting.clear()
        return _delta(text, taken)

    def _release(self, text: str) -> Delta | None:
        taken: list[tuple[int, TokenLogprob | None]] = []
        # A token whose text began before the last character sent has a part in what was sent.
        while self._waiting and self._waiting[0][0] < self._sent:
            taken.append(self._waiting.popleft())
        return _delta(text, taken) if text else None


def _delta(text: str, taken: list[tuple[int, TokenLogprob | None]]) -> Delta | None:
    logprobs = tuple(logprob for _, logprob in taken if logprob is not None)
    if not text and not logprobs:
        return None
    return Delta(text, len(taken), logprobs)
