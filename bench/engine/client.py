"""What a client sees of one reply, whoever serves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply as it arrived. Moments are those of `time.perf_counter`."""

    sent: float
    """When the request left."""
    arrivals: tuple[float, ...]
    """When each message with new text arrived."""
    ended: float
    tokens: int
    """Generated, as the server counts them."""
    text: str
    cached_tokens: int
    """Of the prompt, found in a cache, as the server counts them; 0 where it does not tell."""

    @property
    def first_token_seconds(self) -> float:
        """From sending to the first text; to the end, where a reply's only token is no whole text."""
        return (self.arrivals[0] if self.arrivals else self.ended) - self.sent


@dataclass(frozen=True, slots=True)
class Drawn:
    """How tokens are drawn, with no other rules than these."""

    temperature: float
    top_p: float


class RequestFailed(Exception):
    """A server refused or broke off a request. The message says what it said."""


class Client(Protocol):
    """Asks one server."""

    async def reply(
        self,
        prompt: tuple[int, ...],
        max_tokens: int,
        *,
        on_arrival: Callable[[], None] | None = None,
        cache_key: str = "",
        drawn: Drawn | None = None,
    ) -> Reply:
        """Streams one reply to its end.

        Args:
            prompt: Token ids.
            max_tokens: Most tokens of the reply.
            on_arrival: Called for each message with new text.
            cache_key: Names the conversation, for servers that keep prefixes apart.
            drawn: How tokens are drawn; None: greedily.

        Raises:
            RequestFailed: The server did not answer it.
        """

    async def close(self) -> None:
        """Ends the connection."""
