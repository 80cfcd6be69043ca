"""How much one user may have: streams at once, calls a minute, tokens a minute.

Held in this process, so that several gateways together let a user have as many times as much. A limit a minute is a
bucket that holds a minute's worth and fills steadily: a user who was away may have all of it at once. What a reply
costs is known when it was written, so tokens are taken afterwards, below empty if need be; the next call waits until
the bucket has something again.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.rpc.errors import LimitReached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.gateway.identity import Caller
    from services.gateway.settings import GatewaySettings

_STREAM_RETRY_SECONDS = 1.0
_FULL_BUCKETS_KEPT = 1024


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float
    """When it had that level."""


class MinuteLimit:
    """So many of something a minute, for each user.

    Args:
        per_minute: How many.
        what: Of what, for the error: `calls`.
        clock: Returns seconds.
    """

    def __init__(self, per_minute: int, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._what = what
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._sweep_at = _FULL_BUCKETS_KEPT

    def check(self, user_id: str) -> None:
        """Passes where a user may have one more.

        Raises:
            LimitReached: They may not, and when they may.
        """
        level = self._filled(user_id)
        if level < 1:
            seconds = (1 - level) * 60 / self._per_minute
            raise LimitReached(
                f"{self._per_minute} {self._what} a minute are the limit; try again in {math.ceil(seconds)} s.",
                metadata={"limit": str(self._per_minute), "per": f"{self._what} a minute"},
                retry_after=seconds,
            )

    def take(self, user_id: str, amount: int) -> None:
        """Takes what a user has had, whether or not it was there."""
        level = self._filled(user_id)
        self._buckets[user_id] = _Bucket(level - amount, self._clock())
        if len(self._buckets) > self._sweep_at:
            self._forget_full()

    def _filled(self, user_id: str) -> float:
        bucket = self._buckets.get(user_id)
        return float(self._per_minute) if bucket is None else self._level(bucket)

    def _level(self, bucket: _Bucket) -> float:
        return min(self._per_minute, bucket.level + (self._clock() - bucket.at) * self._per_minute / 60)

    def _forget_full(self) -> None:
        self._buckets = {user: b for user, b in self._buckets.items() if self._level(b) < self._per_minute}
        # Seldom enough to cost a call next to nothing, however many users there are.
        self._sweep_at = max(_FULL_BUCKETS_KEPT, 2 * len(self._buckets))


class UserLimits:
    """The limits of this gateway."""

    def __init__(self, settings: GatewaySettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._streams = settings.max_streams_per_user
        self._streaming: Counter[str] = Counter()
        requests, tokens = settings.max_requests_per_minute_per_user, settings.max_tokens_per_minute_per_user
        self._requests = None if requests is None else MinuteLimit(requests, "calls", clock)
        self._tokens = None if tokens is None else MinuteLimit(tokens, "tokens", clock)

    def count_request(self, caller: Caller) -> None:
        """Counts a call.

        Raises:
            LimitReached: It is one too many.
        """
        if self._requests is not None:
            self._requests.check(caller.user_id)
            self._requests.take(caller.user_id, 1)

    @contextmanager
    def stream(self, caller: Caller) -> Iterator[None]:
        """Counts a call that streams, and holds its place among the user's streams.

        Raises:
            LimitReached: It is one too many.
        """
        if self._streams is not None and self._streaming[caller.user_id] >= self._streams:
            raise LimitReached(
                f"One user can have {self._streams} replies and exports at once; try again when one has ended.",
                metadata={"limit": str(self._streams), "per": "streams at once"},
                retry_after=_STREAM_RETRY_SECONDS,
            )
        self.count_request(caller)
        self._streaming[caller.user_id] += 1
        try:
            yield
        finally:
            self._streaming[caller.user_id] -= 1
            if not self._streaming[caller.user_id]:
                del self._streaming[caller.user_id]

    @contextmanager
    def reply(self, caller: Caller) -> Iterator[Callable[[int], None]]:
        """Holds a place as `stream` does, for a reply. Lends what counts the tokens that the model has computed.

        Raises:
            LimitReached: It is one too many, or the tokens are used up.
        """
        tokens = self._tokens
        if tokens is not None:
            tokens.check(caller.user_id)
        with self.stream(caller):
            yield (lambda _: None) if tokens is None else (lambda amount: tokens.take(caller.user_id, amount))
