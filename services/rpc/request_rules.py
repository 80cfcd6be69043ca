"""Rules of the protocol that more than one service holds requests to, word for word as the protos state them.

The gateway checks them before it stores anything, the services behind it because anyone may call them.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.rpc.errors import FieldViolation, InvalidArgument, invalid_field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatbot.v1.inference_service_pb2 import SamplingConfig

MAX_TEXT_BYTES = 1_000_000
"""Longest text of one message, in bytes of UTF-8."""

MAX_USER_ID_LENGTH = 200
"""Longest user id, in characters."""

MAX_STOP_STRINGS = 16
MAX_STOP_LENGTH = 256


@dataclass(frozen=True, slots=True)
class _Range:
    """The values that a number may have."""

    low: float
    high: float
    above_low: bool = False
    """Whether `low` itself is too low."""

    def refusal(self, value: float) -> str | None:
        """Returns what would be right, where a value is wrong."""
        too_low = value <= self.low if self.above_low else value < self.low
        if math.isfinite(value) and not too_low and value <= self.high:
            return None
        if self.high == math.inf:
            return f"must be {self.low:g} or more"
        return f"must be {'over ' if self.above_low else ''}{self.low:g} and at most {self.high:g}"


_RANGES = {
    "temperature": _Range(0, 5),
    "top_p": _Range(0, 1, above_low=True),
    "top_k": _Range(0, math.inf),
    "min_p": _Range(0, 1),
    "repetition_penalty": _Range(0, 10, above_low=True),
    "frequency_penalty": _Range(-2, 2),
    "presence_penalty": _Range(-2, 2),
    "max_tokens": _Range(1, math.inf),
    "logprobs": _Range(0, 20),
}


def check_sampling(sampling: SamplingConfig) -> None:
    """Checks every field that is set.

    Raises:
        InvalidArgument: With one violation for each wrong field, under the path `sampling`.
    """
    violations = list(_violations(sampling))
    if violations:
        raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in violations) + ".", violations=violations)


def _violations(sampling: SamplingConfig) -> Iterator[FieldViolation]:
    for descriptor, value in sampling.ListFields():
        allowed = _RANGES.get(descriptor.name)
        refusal = allowed.refusal(value) if allowed else None
        if refusal:
            yield FieldViolation(f"sampling.{descriptor.name}", refusal)
    if len(sampling.stop) > MAX_STOP_STRINGS:
        yield FieldViolation("sampling.stop", f"must have at most {MAX_STOP_STRINGS} strings")
    for place, stop in enumerate(sampling.stop):
        if not 1 <= len(stop) <= MAX_STOP_LENGTH:
            yield FieldViolation(f"sampling.stop[{place}]", f"must have 1 to {MAX_STOP_LENGTH} characters")


def check_request_id(request_id: str, path: str = "request_id") -> str:
    """Returns the request id in its canonical form.

    Raises:
        InvalidArgument: It is no UUID.
    """
    try:
        return str(uuid.UUID(request_id))
    except ValueError:
        raise invalid_field(path, "must be a UUID such as 123e4567-e89b-42d3-a456-426614174000") from None


def check_text(text: str, path: str) -> None:
    """Checks the text of a message.

    Raises:
        InvalidArgument: It is empty, too long or holds NUL.
    """
    if not text.strip():
        raise invalid_field(path, "must not be empty or all white space")
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise invalid_field(path, f"must be at most {MAX_TEXT_BYTES} bytes of UTF-8; it is {size}")
    if "\0" in text:
        raise invalid_field(path, "must not contain NUL")
