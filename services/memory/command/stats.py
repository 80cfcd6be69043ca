"""`stats`: tells how much is in the database."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from services.memory.command.outcome import WHOLE

if TYPE_CHECKING:
    from services.memory.command.arguments import Options
    from services.memory.command.desk import Desk
    from services.memory.inspection import Statistics


async def stats(options: Options, desk: Desk) -> int:
    """Writes it to standard output."""
    async with desk.store() as store:
        found = await store.statistics(options.largest)
    sys.stdout.write(_as_json(found) if options.json else _as_table(found))
    return WHOLE


def _as_json(found: Statistics) -> str:
    fields = asdict(found) | {"vectors": dict(found.vectors)}
    return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"


def _as_table(found: Statistics) -> str:
    rows = [
        ("users", f"{found.users:,}"),
        ("conversations", f"{found.conversations:,}"),
        ("messages", f"{found.messages:,}"),
        ("  superseded", f"{found.superseded:,}"),
        ("bytes of text", f"{found.text_bytes:,}"),
        ("bytes on disk", f"{found.database_bytes:,}"),
        ("waiting to be embedded", f"{found.pending:,}"),
        *((f"vectors of {embedder}", f"{count:,}") for embedder, count in found.vectors),
    ]
    lines = _aligned(rows)
    if found.largest:
        lines.append("")
        lines += _aligned(
            [
                (
                    f"user {user.user_id!r}",
                    f"{user.bytes:,} bytes, {user.messages:,} messages, {user.conversations:,} conversations",
                )
                for user in found.largest
            ]
        )
    return "".join(f"{line}\n" for line in lines)


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"{name.ljust(width)}  {value}" for name, value in rows]
