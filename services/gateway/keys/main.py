"""Carries out one command."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.gateway.identity.api_key import new_key
from services.gateway.identity.choice import key_file_path
from services.gateway.identity.key_file import KeyFile, KeyFileDamaged
from services.gateway.keys.arguments import parse
from services.gateway.settings import GatewaySettings
from services.rpc.settings import StartupError, load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.gateway.identity.api_key import ApiKey
    from services.gateway.keys.arguments import Options

DONE = 0
CANNOT_RUN = 2


class _CannotRun(Exception):
    """Things are not as the command needs them. The message is one sentence."""


def main(arguments: Sequence[str]) -> int:
    """Carries a command line out and returns the exit status."""
    options = parse(arguments)
    try:
        file = KeyFile(key_file_path(load_settings(GatewaySettings)))
        _COMMANDS[options.command](options, file, datetime.now(UTC).replace(microsecond=0))
    except (StartupError, _CannotRun) as refusal:
        return _refused(str(refusal))
    except KeyFileDamaged as damage:
        return _refused(f"The file of API keys, {file.path}, {damage}.")
    except OSError as failure:
        return _refused(f"{failure.filename or file.path}: {failure.strerror}.")
    return DONE


def _add(options: Options, file: KeyFile, now: datetime) -> None:
    expire_time = None if options.lifetime is None else now + options.lifetime
    with file.changing() as keys:
        if any(key.name == options.name and key.revoke_time is None for key in keys):
            raise _CannotRun(f"There is a key {options.name!r}: choose another name, or revoke that one first.")
        secret, key = new_key(options.name, options.user_id, options.role, now, expire_time)
        keys.append(key)
    _say(f"This is the key of {key.user_id!r} ({key.role}). It is shown only now:")
    sys.stdout.write(f"{secret}\n")
    sys.stdout.flush()


def _list(options: Options, file: KeyFile, now: datetime) -> None:
    keys = file.read()
    if options.json:
        for key in keys:
            sys.stdout.write(json.dumps(_told(key, now), ensure_ascii=False) + "\n")
        return
    if not keys:
        _say(f"There are no keys in {file.path}.")
        return
    rows = [("ID", "NAME", "USER", "ROLE", "MADE", "STATE")]
    rows += [
        (key.key_id, key.name, key.user_id, key.role, f"{key.create_time:%Y-%m-%d}", _state(key, now)) for key in keys
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(f"{line.rstrip()}\n")


def _revoke(options: Options, file: KeyFile, now: datetime) -> None:
    with file.changing() as keys:
        places = [
            place
            for place, key in enumerate(keys)
            if key.key_id == options.name or (key.name == options.name and key.revoke_time is None)
        ]
        if not places:
            raise _CannotRun(f"There is no key {options.name!r} that could be revoked; `keys list` shows all.")
        for place in places:
            keys[place] = replace(keys[place], revoke_time=keys[place].revoke_time or now)
    _say(f"Revoked: {options.name!r} opens nothing any more.")


_COMMANDS = {"add": _add, "list": _list, "revoke": _revoke}


def _told(key: ApiKey, now: datetime) -> dict[str, str | None]:
    return {
        "id": key.key_id,
        "name": key.name,
        "user": key.user_id,
        "role": key.role,
        "create_time": key.create_time.isoformat(),
        "expire_time": None if key.expire_time is None else key.expire_time.isoformat(),
        "revoke_time": None if key.revoke_time is None else key.revoke_time.isoformat(),
        "state": _state(key, now),
    }


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoke_time is not None:
        return f"revoked {key.revoke_time:%Y-%m-%d}"
    if key.expire_time is None:
        return "holds"
    return f"holds until {key.expire_time:%Y-%m-%d}" if key.is_usable(now) else f"expired {key.expire_time:%Y-%m-%d}"


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _refused(sentence: str) -> int:
    _say(f"error: {sentence}")
    return CANNOT_RUN
