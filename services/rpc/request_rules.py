"""Rules of the protocol that more than one service holds requests to, word for word as the protos state them.

The gateway checks them before it stores anything, the services behind it because anyone may call them.
"""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING

from services.rpc.errors import FieldViolation, InvalidArgument, invalid_field

if TYPE_CHECKING:
    from chatbot.v1.inference_service_pb2 import SamplingConfig

MAX_TEXT_BYTES = 1_000_000
"""Longest text of one message, in bytes of UTF-8."""

MAX_USER_ID_LENGTH = 200
"""Longest user id, in characters."""

MAX_STOP_STRINGS = 16
MAX_STOP_LENGTH = 256

_RANGES = {
    # field: (low, low is allowed, high, what to say)
    "temperature": (0.0, True, 5.0, "must be from 0 to 5"),
    "top_p": (0.0, False, 1.0, "must be over 0, up to 1"),
    "top_k": (0, True, 2**31 - 1, "must be 0 or more"),
    "min_p": (0.0, True, 1.0, "must be from 0 to 1"),
    "repetition_penalty": (0.0, False, 10.0, "must be over 0, up to 10"),
    "frequency_penalty": (-2.0, True, 2.0, "must be from -2 to 2"),
    "presence_penalty": (-2.0, True, 2.0, "must be from -2 to 2"),
    "max_tokens": (1, True, 2**31 - 1, "must be 1 or more"),
    "logprobs": (0, True, 20, "must be from 0 to 20"),
}


def check_sampling(sampling: SamplingConfig, path: str = "sampling") -> None:
    """Checks every field that is set.

    Raises:
        InvalidArgument: With one violation for each wrong field, under `path`.
    """
    violations: list[FieldViolation] = []
    for name, (low, low_allowed, high, rule) in _RANGES.items():
        if not sampling.HasField(name):
            continue
        value = getattr(sampling, name)
        in_range = math.isfinite(value) and low <= value <= high and (low_allowed or value > low)
        if not in_range:
            violations.append(FieldViolation(f"{path}.{name}", f"{rule}; it is {value:g}"))
    if len(sampling.stop) > MAX_STOP_STRINGS:
        violations.append(FieldViolation(f"{path}.stop", f"must have at most {MAX_STOP_STRINGS} strings"))
    if any(not 1 <= len(stop) <= MAX_STOP_LENGTH for stop in sampling.stop):
        violations.append(FieldViolation(f"{path}.stop", f"must be strings of 1 to {MAX_STOP_LENGTH} characters"))
    if violations:
        raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in violations) + ".", violations=violations)


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
