"""The API keys as a running gateway has them: those of the file, as it is now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from services.gateway.identity.api_key import ApiKey, find_key
from services.gateway.identity.key_file import KeyFile, KeyFileDamaged
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from pathlib import Path

_log = structlog.get_logger()


class KeyRing:
    """Follows the file of API keys.

    The file is looked at (not read) at every call, so that a revoked key is refused from the next call on, by every
    gateway that sees the file. One that is damaged or gone while the gateway runs changes nothing but the log: what
    was read last goes on to hold.

    Args:
        path: The file.
        must_exist: Whether its absence ends the start.

    Raises:
        StartupError: It is damaged, or missing where it must exist.
    """

    def __init__(self, path: Path, *, must_exist: bool) -> None:
        self._file = KeyFile(path)
        self._keys: dict[str, ApiKey] = {}
        self._seen = self._file.state()
        self.has_file = self._seen is not None
        """Whether there is, or ever was, a file. It then takes a key to come in, though all may be revoked."""
        if must_exist and not self.has_file:
            raise StartupError(
                f"{variable_name('api_keys_file')}={path} does not exist: make a first key with "
                "`python run.py keys add NAME --user USER`, under the same setting."
            )
        try:
            self._read()
        except KeyFileDamaged as damage:
            raise StartupError(
                f"The file of API keys, {path}, {damage}: put a good copy of it in its place, or set "
                f"{variable_name('api_keys_file')} to another."
            ) from None

    def follow(self) -> None:
        """Takes in what has changed in the file."""
        state = self._file.state()
        if state == self._seen:
            return
        self._seen = state
        if state is None:
            _log.error("the file of API keys is gone; those it had last still hold", path=str(self._file.path))
            return
        self.has_file = True
        try:
            self._read()
        except KeyFileDamaged as damage:
            _log.error(
                "the file of API keys cannot be used; those it had last still hold",
                path=str(self._file.path),
                problem=str(damage),
            )
        else:
            _log.info("the API keys have changed", keys=len(self._keys))

    def find(self, shown: str) -> ApiKey | None:
        """Returns the key that a caller has shown; None where it is none that may be used."""
        return find_key(shown, self._keys, datetime.now(UTC))

    def _read(self) -> None:
        self._keys = {key.key_id: key for key in self._file.read()}
