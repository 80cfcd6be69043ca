"""A replica's sign of life in the database that it shares with others."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import structlog

from services.memory.store import migrate, replica_rows
from services.rpc.errors import ChatbotError
from services.rpc.log import where

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from services.memory.store.writer import Writer

_log = structlog.get_logger()

_EVERY_SECONDS = replica_rows.LEASE_SECONDS / 4


class Heartbeat:
    """Says every few seconds that this replica lives, and hears whether the database has become a newer version's."""

    def __init__(self) -> None:
        self.replica = uuid.uuid4().hex
        self.outdated = False
        self._revision = migrate.newest_revision()
        self._writer: Writer | None = None
        self._task: asyncio.Task[None] | None = None

    def beat(self, connection: Connection) -> None:
        """Says it once."""
        replica_rows.beat(connection, self.replica, self._revision)
        revision = migrate.revision(connection)
        if revision is not None and revision > self._revision and not self.outdated:
            _log.error("the database is a newer version's now", known=self._revision, found=revision)
            self.outdated = True

    def start(self, writer: Writer) -> None:
        """Goes on by itself, through a writer."""
        self._writer = writer
        self._task = asyncio.create_task(self._go_on(writer), name="memory-heartbeat")

    async def close(self) -> None:
        """Ends it, and says so, which hands this replica's unfinished work to the others at once."""
        if self._task is None or self._writer is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._writer.run(lambda connection: replica_rows.retire(connection, self.replica))
        except ChatbotError:
            _log.warning("could not say goodbye to the database; others notice in a few seconds")

    async def _go_on(self, writer: Writer) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                await writer.run(self.beat)
            except Exception as failure:  # the next one may succeed
                _log.warning("no sign of life", failure=where(failure))
