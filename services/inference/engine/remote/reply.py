"""One reply as a server streams it: its chunks in, events out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from services.inference.engine.protocol import Delta, EngineRequest, Finished, FinishReason, Started
from services.inference.engine.reply_text import ReplyText

if TYPE_CHECKING:
    from services.inference.engine.remote.chunk import Chunk


class RemoteReply:
    """Keeps account of one reply: its text, its tokens, its time.

    Tokens are those that the server counts. Until it says how many it has generated, each piece of text counts as one.
    """

    def __init__(self, request: EngineRequest, context_tokens: int) -> None:
        self._request = request
        self._context_tokens = context_tokens
        self._text = ReplyText(request.sampling.stop)
        estimate = request.untokenized
        self._expected = len(request.prompt) if estimate is None else estimate.estimated_tokens
        self._prompt_tokens: int | None = None
        self._cached_tokens = 0
        self._sent = time.monotonic()
        self._first: float | None = None
        self._last = self._sent
        self.generated = 0
        """Tokens so far."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, as the server counts them as soon as it has said so."""
        return self._expected if self._prompt_tokens is None else self._prompt_tokens

    @property
    def stop(self) -> str | None:
        """The stop string that ended the reply, where one did."""
        return self._text.stop

    def started(self) -> Started:
        """Returns the first event."""
        return Started(self._cached_tokens, self._queue_seconds)

    def feed(self, chunk: Chunk) -> Delta | None:
        """Takes the next chunk and returns what may go out; None if nothing."""
        if chunk.prompt_tokens is not None:
            self._prompt_tokens = chunk.prompt_tokens
        if chunk.cached_tokens is not None:
            self._cached_tokens = chunk.cached_tokens
        before = self.generated
        pieces = len(chunk.logprobs) or bool(chunk.text)
        self.generated = before + pieces if chunk.completion_tokens is None else chunk.completion_tokens
        if not chunk.text and not chunk.logprobs:
            return None
        self._last = time.monotonic()
        if self._first is None:
            self._first = self._last
        return self._text.feed(chunk.text, max(0, self.generated - before), chunk.logprobs)

    def end(self) -> Delta | None:
        """Returns what was held back, where the reply ended other than by a stop string."""
        return None if self.stop is not None else self._text.end()

    def out_of_room(self) -> FinishReason:
        """Returns why a reply ended that the server let grow no further."""
        # By the expected size of the prompt: from that `max_tokens` was cut to the context.
        room = self._context_tokens - max(self._expected, self.prompt_tokens)
        stopped_short = self.generated < self._request.sampling.max_tokens
        return FinishReason.CONTEXT_FULL if stopped_short or self.generated >= room else FinishReason.MAX_TOKENS

    def finished(self, reason: FinishReason) -> Finished:
        """Returns the last event."""
        first = time.monotonic() if self._first is None else self._first
        return Finished(
            reason=reason,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self._cached_tokens,
            completion_tokens=self.generated,
            queue_seconds=self._queue_seconds,
            prefill_seconds=first - self._sent,
            decode_seconds=max(0.0, self._last - first),
            stop=self.stop or "",
        )

    @property
    def _queue_seconds(self) -> float:
        return max(0.0, self._sent - self._request.arrived)
