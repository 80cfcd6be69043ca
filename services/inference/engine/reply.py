"""The text of one reply as it grows: tokens in, deltas out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.inference.engine.detokenizer import Detokenizer
from services.inference.engine.reply_text import ReplyText

if TYPE_CHECKING:
    from services.inference.engine.protocol import Delta, TokenLogprob
    from services.inference.engine.vocabulary import Vocabulary


class Reply:
    """Detokenizes one reply and watches for its stop strings."""

    def __init__(self, vocabulary: Vocabulary, stops: tuple[str, ...]) -> None:
        self._detokenizer = Detokenizer(vocabulary)
        self._text = ReplyText(stops)

    @property
    def stop(self) -> str | None:
        """The stop string that ended the reply, where one did."""
        return self._text.stop

    def feed(self, token: int, logprob: TokenLogprob | None) -> Delta | None:
        """Takes the next token and returns what may go out; None where that is nothing."""
        return self._text.feed(self._detokenizer.feed(token), 1, () if logprob is None else (logprob,))

    def end(self) -> Delta | None:
        """Returns what was held back, where the reply ended other than by a stop string."""
        return self._text.end()
