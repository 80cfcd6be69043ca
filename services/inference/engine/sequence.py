"""One request while the engine works on it."""

from __future__ import annotations

import itertools
import time
from array import array
from typing import TYPE_CHECKING

from services.inference.engine.protocol import Finished, FinishReason
from services.inference.engine.reply import Reply

if TYPE_CHECKING:
    from services.inference.engine.grammar import Matcher
    from services.inference.engine.mailbox import Mailbox
    from services.inference.engine.protocol import EngineRequest
    from services.inference.engine.vocabulary import Vocabulary

_numbers = itertools.count(1)


class Sequence:
    """The tokens of one request: those of the prompt, then those generated.

    `computed` of them are in the KV cache. Touched by the engine's thread only, but for `aborted`, which any thread
    may set.
    """

    def __init__(
        self, request: EngineRequest, mailbox: Mailbox, vocabulary: Vocabulary, matcher: Matcher | None = None
    ) -> None:
        self.number = next(_numbers)
        self.request = request
        self.mailbox = mailbox
        self.matcher = matcher
        self.tokens = array("q", request.prompt)
        self.computed = 0
        self.cached = 0
        self.reply = Reply(vocabulary, request.sampling.stop)
        self.aborted = False
        self.draft_held = False
        """Whether the last guess at what comes next proved right to its end."""
        self._taken_up = 0.0
        self._first_token = 0.0
        self._last_token = 0.0

    @property
    def generated(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - len(self.request.prompt)

    @property
    def uncomputed(self) -> int:
        """Tokens that the model has still to read before the next can be chosen."""
        return len(self.tokens) - self.computed

    @property
    def is_whole(self) -> bool:
        """Whether the form that the reply must have leaves nothing to add."""
        return self.matcher is not None and self.matcher.complete

    @property
    def has_lost_its_way(self) -> bool:
        """Whether the form that the reply must have can be followed no further."""
        return self.matcher is not None and self.matcher.failed

    @property
    def queue_seconds(self) -> float:
        """From the request's arrival until the model took it up."""
        return max(0.0, self._taken_up - self.request.arrived)

    def take_up(self, cached: int) -> None:
        """Notes that the model starts on it, with `cached` tokens of the prompt in its KV cache."""
        self.computed = self.cached = cached
        self._taken_up = time.monotonic()

    def append(self, token: int) -> None:
        """Adds a generated token."""
        self.tokens.append(token)
        self._last_token = time.monotonic()
        if self.generated == 1:
            self._first_token = self._last_token

    def finished(self, reason: FinishReason) -> Finished:
        """Returns the last event of the reply."""
        first = self._first_token or time.monotonic()
        return Finished(
            reason=reason,
            prompt_tokens=len(self.request.prompt),
            cached_tokens=self.cached,
            completion_tokens=self.generated,
            queue_seconds=self.queue_seconds,
            prefill_seconds=first - self._taken_up,
            decode_seconds=max(0.0, self._last_token - first),
            stop=self.reply.stop or "",
        )
