"""What single fields of requests must be. Each check names the field as the proto does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.rpc.errors import invalid_field

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

MAX_TEXT_BYTES = 1_000_000
MAX_NAME_CHARACTERS = 200

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# 64-bit nanoseconds since 1970 reach from 1677-09-21 to 2262-04-11.
_MIN_SECONDS = -9_214_560_000  # 1678-01-01
_MAX_SECONDS = 9_214_646_400  # 2262-01-01
_MAX_TTL_SECONDS = 36_525 * 86_400
_MAX_LEASE_SECONDS = 600
_MAX_DURATION_SECONDS = 100_000 * 86_400


def user(field: str, value: str) -> str:
    """Returns a user's id: 1 to 200 characters without NUL."""
    if not value:
        raise invalid_field(field, "must not be empty")
    return short_text(field, value)


def request_id(field: str, value: str) -> str:
    """Returns a UUID in lower case."""
    if not _UUID.fullmatch(value):
        raise invalid_field(field, "must be a UUID such as 123e4567-e89b-12d3-a456-426614174000")
    return value.lower()


def short_text(field: str, value: str) -> str:
    """Returns a text of at most 200 characters without NUL."""
    if len(value) > MAX_NAME_CHARACTERS:
        raise invalid_field(field, f"must have at most {MAX_NAME_CHARACTERS} characters")
    if "\0" in value:
        raise invalid_field(field, "must not contain NUL")
    return value


def text(field: str, value: str) -> str:
    """Returns a text of at most 1,000,000 bytes without NUL; it may be empty."""
    if len(value.encode("utf-8")) > MAX_TEXT_BYTES:
        raise invalid_field(field, f"must have at most {MAX_TEXT_BYTES} bytes")
    if "\0" in value:
        raise invalid_field(field, "must not contain NUL")
    return value


def count(field: str, value: int, default: int) -> int:
    """Returns how many are asked for: 1 to 1000, or the default for 0."""
    if not 0 <= value <= 1000:
        raise invalid_field(field, f"must be from 0 to 1000, where 0 stands for {default}")
    return value or default


def not_negative(field: str, value: int) -> int:
    """Returns a number that is 0 or more."""
    if value < 0:
        raise invalid_field(field, "must not be negative")
    return value


def at_most(field: str, value: int, most: int) -> int:
    """Returns a number from 0 to `most`."""
    if not 0 <= value <= most:
        raise invalid_field(field, f"must be from 0 to {most}")
    return value


def positive(field: str, value: int) -> int:
    """Returns a number that is 1 or more."""
    if value < 1:
        raise invalid_field(field, "must be 1 or more")
    return value


def time_ns(field: str, value: Timestamp) -> int:
    """Returns a time as nanoseconds since 1970."""
    if not (_MIN_SECONDS <= value.seconds < _MAX_SECONDS and 0 <= value.nanos < 1_000_000_000):
        raise invalid_field(field, "must be a time from the years 1678 to 2261")
    return value.seconds * 1_000_000_000 + value.nanos


def ttl_ns(field: str, value: Duration) -> int:
    """Returns a stretch of time in nanoseconds: 1 second to 100 years."""
    return _stretch_ns(field, value, _MAX_TTL_SECONDS, "100 years")


def lease_ns(field: str, value: Duration) -> int:
    """Returns a stretch of time in nanoseconds: 1 second to 10 minutes."""
    return _stretch_ns(field, value, _MAX_LEASE_SECONDS, "10 minutes")


def duration_ns(field: str, value: Duration) -> int:
    """Returns a stretch of time in nanoseconds: 1 second to 100,000 days."""
    return _stretch_ns(field, value, _MAX_DURATION_SECONDS, "100,000 days")


def _stretch_ns(field: str, value: Duration, most_seconds: int, in_words: str) -> int:
    total = value.seconds * 1_000_000_000 + value.nanos
    if value.nanos < 0 or not 1_000_000_000 <= total <= most_seconds * 1_000_000_000:
        raise invalid_field(field, f"must be from 1 second to {in_words}")
    return total
