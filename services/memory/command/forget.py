"""`forget`: deletes everything of a user."""

from __future__ import annotations

import sys
import uuid
from typing import TYPE_CHECKING

from services.memory import field_checks
from services.memory.command.outcome import WHOLE, CannotRun
from services.memory.command.progress import counted
from services.memory.command.remote import connected
from services.memory.store import WriteRequest

if TYPE_CHECKING:
    from services.memory.command.arguments import Options
    from services.memory.command.desk import Desk
    from services.memory.conversation import Counts


async def forget(options: Options, desk: Desk) -> int:
    """Deletes, after asking.

    Raises:
        CannotRun: Nobody is there to ask, or they said no.
    """
    user_id = field_checks.user("USER", options.user_id or "")
    if not options.yes:
        _ask(user_id)
    counts = await _deleted(options.address, user_id, desk)
    sys.stdout.write(
        f"Deleted {counted(counts.conversations, 'conversation')} with {counted(counts.messages, 'message')}.\n"
    )
    return WHOLE


async def _deleted(address: str | None, user_id: str, desk: Desk) -> Counts:
    if address is not None:
        async with connected(address) as remote:
            return await remote.forget(user_id)
    async with desk.store() as store:
        return await store.delete_user(WriteRequest(user_id, str(uuid.uuid4()), b"forget"))


def _ask(user_id: str) -> None:
    if not sys.stdin.isatty():
        raise CannotRun("Standard input is no terminal to ask on; give --yes to delete without being asked.")
    sys.stderr.write(f"Delete everything of user {user_id!r}, for good? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CannotRun("Nothing was deleted.")
