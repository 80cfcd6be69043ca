"""A folder with a file of keys, and what makes keys in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.gateway.identity import Role
from services.gateway.identity.api_key import new_key
from services.gateway.identity.key_file import KeyFile

AddKey = Callable[..., str]


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "api-keys.json")


@pytest.fixture
def add_key(key_file: KeyFile) -> AddKey:
    """Makes a key and returns what its holder shows."""

    def add(user: str = "anna", role: Role = Role.USER, lifetime: timedelta | None = None) -> str:
        now = datetime.now(UTC)
        with key_file.changing() as keys:
            name = f"key {len(keys)}"
            secret, key = new_key(name, user, role, now, None if lifetime is None else now + lifetime)
            keys.append(key)
        return secret

    return add
