"""An API key: what its holder shows, and what is kept of it.

A key is 256 random bits, so its plain SHA-256 can be kept: there is nothing to guess that slow hashing would protect
(NIST SP 800-63B, 5.1.1.2 speaks of secrets that people choose). Its public id says which of the kept digests it has to
have.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import field
from typing import TYPE_CHECKING, Annotated

from pydantic import AwareDatetime, Field
from pydantic.dataclasses import dataclass

from services.gateway.identity.caller import Role
from services.rpc.request_rules import MAX_USER_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

KEY_PREFIX = "chatbot_"
"""What every key begins with, so that scanners of repositories and logs can find one that got there."""

MAX_NAME_LENGTH = 100

_FORM = re.compile(rf"{KEY_PREFIX}([0-9a-f]{{12}})_[0-9a-f]{{64}}")
_NOBODYS_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of one key."""

    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    """The public part of it."""
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
    """What its keeper calls it; of all keys that are not revoked, one has it."""
    user_id: Annotated[str, Field(min_length=1, max_length=MAX_USER_ID_LENGTH)]
    """Who calls with it."""
    role: Role
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = field(repr=False)
    """SHA-256 of the whole key, in hexadecimal."""
    create_time: AwareDatetime
    expire_time: AwareDatetime | None = None
    revoke_time: AwareDatetime | None = None

    def is_usable(self, now: datetime) -> bool:
        """Tells whether it opens anything at a time."""
        return self.revoke_time is None and (self.expire_time is None or now < self.expire_time)


def new_key(name: str, user_id: str, role: Role, now: datetime, expire_time: datetime | None) -> tuple[str, ApiKey]:
    """Makes a key. Returns what its holder is given, which nobody can tell again, and what is kept of it."""
    key_id = secrets.token_hex(6)
    secret = f"{KEY_PREFIX}{key_id}_{secrets.token_hex(32)}"
    return secret, ApiKey(key_id, name, user_id, role, _digest(secret), now, expire_time)


def find_key(shown: str, keys: Mapping[str, ApiKey], now: datetime) -> ApiKey | None:
    """Returns the key that a caller has shown; None where it is none, or no longer.

    An unknown one, one that was revoked and one that has a known id and a wrong rest take the same steps.

    Args:
        shown: What the caller shows.
        keys: All that are kept, by their id.
        now: When.
    """
    form = _FORM.fullmatch(shown)
    kept = keys.get(form[1]) if form else None
    matches = hmac.compare_digest(_digest(shown), kept.digest if kept else _NOBODYS_DIGEST)
    return kept if kept is not None and matches and kept.is_usable(now) else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
