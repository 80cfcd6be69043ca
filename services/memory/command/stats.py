"""`stats`: tells how much is in the database, and of a running service how far the work on it has come."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from services.memory.command.outcome import WHOLE, CannotRun
from services.memory.command.remote import connected
from services.memory.inspection import Statistics

if TYPE_CHECKING:
    from chatbot.v1 import memory_service_pb2 as pb
    from services.memory.command.arguments import Options
    from services.memory.command.desk import Desk

Rows = list[tuple[str, str]]


async def stats(options: Options, desk: Desk) -> int:
    """Writes it to standard output.

    Raises:
        CannotRun: Users are to be named through a service, which names none.
    """
    status = None
    if options.address is None:
        async with desk.store() as store:
            found = await store.statistics(options.largest)
    elif options.largest:
        raise CannotRun("--largest works on the database itself: a service names no users; leave --address out.")
    else:
        async with connected(options.address) as remote:
            status = await remote.status()
        found = _statistics(status)
    sys.stdout.write(_as_json(found, status) if options.json else _as_table(found, status))
    return WHOLE


def _statistics(status: pb.GetStatusResponse) -> Statistics:
    database, embedding = status.database, status.embedding
    return Statistics(
        users=database.user_count,
        conversations=database.conversation_count,
        messages=database.message_count,
        superseded=database.superseded_message_count,
        text_bytes=database.text_bytes,
        database_bytes=database.database_bytes,
        vectors=tuple((vectors.embedder, vectors.count) for vectors in embedding.vectors),
        pending=embedding.pending_message_count,
        largest=(),
    )


def _as_json(found: Statistics, status: pb.GetStatusResponse | None) -> str:
    fields: dict[str, Any] = asdict(found) | {"vectors": dict(found.vectors)}
    if status is not None:
        embedding, cache = status.embedding, status.index_cache
        fields["service"] = {
            "embedder": embedding.embedder,
            "dimension": embedding.dimension,
            "embedded": embedding.embedded_message_count,
            "messages_per_second": embedding.messages_per_second,
            "problem": embedding.problem,
            "cached_users": cache.user_count,
            "cached_bytes": cache.size_bytes,
            "cache_capacity_bytes": cache.capacity_bytes,
        }
    return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"


def _as_table(found: Statistics, status: pb.GetStatusResponse | None) -> str:
    lines = _aligned(
        [
            ("users", f"{found.users:,}"),
            ("conversations", f"{found.conversations:,}"),
            ("messages", f"{found.messages:,}"),
            ("  superseded", f"{found.superseded:,}"),
            ("bytes of text", f"{found.text_bytes:,}"),
            ("bytes on disk", f"{found.database_bytes:,}"),
            ("waiting to be embedded", f"{found.pending:,}"),
            *((f"vectors of {embedder}", f"{count:,}") for embedder, count in found.vectors),
        ]
    )
    if status is not None:
        lines += ["", *_aligned(_of_service(status))]
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


def _of_service(status: pb.GetStatusResponse) -> Rows:
    embedding, cache = status.embedding, status.index_cache
    total = embedding.embedded_message_count + embedding.pending_message_count
    share = embedding.embedded_message_count / total if total else 1.0
    rows = [
        ("embedder", f"{embedding.embedder}, {embedding.dimension} dimensions"),
        ("embedded", f"{embedding.embedded_message_count:,} of {total:,} ({share:.1%})"),
        ("messages a second", f"{embedding.messages_per_second:.1f}"),
    ]
    if embedding.problem:
        rows.append(("problem", embedding.problem))
    elif embedding.pending_message_count and embedding.messages_per_second:
        rows.append(("seconds left", f"{embedding.pending_message_count / embedding.messages_per_second:,.0f}"))
    rows.append(
        ("indexes in memory", f"{cache.user_count:,} users, {cache.size_bytes:,} of {cache.capacity_bytes:,} bytes")
    )
    return rows


def _aligned(rows: Rows) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"{name.ljust(width)}  {value}" for name, value in rows]
