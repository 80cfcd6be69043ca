"""The file that API keys are kept in, by their digests.

JSON, replaced as a whole: whoever reads it sees what was before a change or what is after it. Its owner alone may read
and write it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from services.gateway.identity.api_key import ApiKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has none; two commands at once are rare enough there
    fcntl = None

KEY_FILE_NAME = "api-keys.json"
"""What it is called in the data folder."""

FileState = tuple[int, int, int, int]


class KeyFileDamaged(Exception):
    """The file cannot be read, or holds something else. The message completes "the file …"."""


@dataclass(frozen=True, slots=True)
class _Content:
    keys: tuple[ApiKey, ...]
    version: Literal[1] = 1


_CONTENT = TypeAdapter(_Content)


class KeyFile:
    """The API keys on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def state(self) -> FileState | None:
        """Returns what differs after every change; None where there is no file."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            # There may be one: whoever reads it is told what is wrong.
            return (0, 0, 0, 0)
        return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)

    def read(self) -> tuple[ApiKey, ...]:
        """Returns the keys, revoked ones included, in the order they were made; none where there is no file.

        Raises:
            KeyFileDamaged: It cannot be read, or holds something else.
        """
        try:
            content = _CONTENT.validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return ()
        except OSError as failure:
            raise KeyFileDamaged(f"cannot be read ({failure.strerror})") from None
        except ValidationError as invalid:
            place = ".".join(map(str, invalid.errors(include_url=False, include_input=False)[0]["loc"]))
            raise KeyFileDamaged(f"is damaged{f' at {place}' if place else ''}") from None
        ids = Counter(key.key_id for key in content.keys)
        if ids and max(ids.values()) > 1:
            raise KeyFileDamaged("is damaged: it has two keys of the same id")
        return content.keys

    @contextlib.contextmanager
    def changing(self) -> Iterator[list[ApiKey]]:
        """Lends the keys to be changed, alone, and writes them at the end unless that was reached by an exception.

        Raises:
            KeyFileDamaged: What is there cannot be read. It is left as it is.
            OSError: It cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(self.path.parent):
            keys = list(self.read())
            yield keys
            self._replace(_CONTENT.dump_json(_Content(tuple(keys)), indent=2) + b"\n")

    def _replace(self, data: bytes) -> None:
        folder = self.path.parent
        fresh = folder / f".{self.path.name}.{secrets.token_hex(4)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if hasattr(os, "geteuid") and os.geteuid() == 0:
                    # Made by root for a gateway that runs as another user: the folder says as which.
                    owner = folder.stat()
                    os.chown(fresh, owner.st_uid, owner.st_gid)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            fresh.replace(self.path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keeps other commands that change a folder's files waiting. The lock goes with the process."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
