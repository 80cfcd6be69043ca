"""Says in the log how far a long migration has come."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = structlog.get_logger()

_EVERY_SECONDS = 1.0


class Step(Protocol):
    """What Alembic calls after each migration (`on_version_apply`)."""

    def __call__(self, *, step: Any, **others: object) -> None:
        """Notes that a migration was applied; `step.up_revision_id` is its number."""


@contextmanager
def reported(what: str, start: str, goal: str) -> Iterator[Step]:
    """Writes a line a second for as long as the block runs, and lends what notes each step."""
    began = time.monotonic()
    ended = threading.Event()
    at = start

    def note(*, step: Any, **_others: object) -> None:
        nonlocal at
        at = step.up_revision_id

    def report() -> None:
        while not ended.wait(_EVERY_SECONDS):
            _log.info(what, at=at, goal=goal, seconds=round(time.monotonic() - began))

    thread = threading.Thread(target=report, name="memory-migration-progress", daemon=True)
    thread.start()
    try:
        yield note
    finally:
        ended.set()
        thread.join()
