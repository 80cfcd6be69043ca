"""`check`: tells what is wrong with the database."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from services.memory.command.outcome import FAULTS, WHOLE
from services.memory.command.progress import Steps, counted, say

if TYPE_CHECKING:
    from services.memory.command.arguments import Options
    from services.memory.command.desk import Desk
    from services.memory.inspection import Fault

_USERS_AT_ONCE = 500


async def check(_options: Options, desk: Desk) -> int:
    """Writes a line a fault to standard output, and returns whether there was one."""
    found = 0

    def tell(faults: list[Fault]) -> None:
        nonlocal found
        found += len(faults)
        for fault in faults:
            sys.stdout.write(f"{fault}\n")

    async with desk.store() as store:
        async with desk.embedder() as embedder:
            facts = embedder.facts
        stored = await store.statistics(largest=0)
        tell(await store.database_faults())
        with Steps("Checking users", stored.users) as steps:
            last = ""
            while users := await store.users_after(last, _USERS_AT_ONCE):
                for user_id in users:
                    tell(await store.user_faults(user_id, facts.id, facts.dimension))
                    steps.advance()
                last = users[-1]
    if stored.pending:
        say(f"{counted(stored.pending, 'message')} wait to be embedded, which is no fault.")
    sys.stdout.write(
        f"{counted(stored.messages, 'message')} in {counted(stored.conversations, 'conversation')} of "
        f"{counted(stored.users, 'user')}: {counted(found, 'fault') if found else 'nothing is wrong'}.\n"
    )
    return FAULTS if found else WHOLE
