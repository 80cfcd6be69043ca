"""API keys of a gateway under test."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.gateway.identity import Role
from services.gateway.identity.api_key import new_key
from services.gateway.identity.key_file import KeyFile


class Keys:
    """The file of keys."""

    def __init__(self, path: Path) -> None:
        self.file = KeyFile(path)

    def add(self, user: str, role: Role = Role.USER, lifetime: timedelta | None = None) -> str:
        now = datetime.now(UTC)
        secret, key = new_key(user, user, role, now, None if lifetime is None else now + lifetime)
        with self.file.changing() as keys:
            keys.append(key)
        return secret

    def revoke(self, user: str) -> None:
        with self.file.changing() as keys:
            keys[:] = [replace(k, revoke_time=datetime.now(UTC)) if k.user_id == user else k for k in keys]
