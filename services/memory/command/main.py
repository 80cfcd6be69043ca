"""Runs one command, and tells in a sentence what stops it."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from services.memory.command.arguments import parse
from services.memory.command.check import check
from services.memory.command.desk import Desk
from services.memory.command.export import export
from services.memory.command.forget import forget
from services.memory.command.import_file import import_file
from services.memory.command.outcome import CANNOT_RUN, FAULTS, STOPPED, CannotRun
from services.memory.command.progress import say
from services.memory.command.reindex import reindex
from services.memory.command.stats import stats
from services.memory.settings import MemorySettings
from services.rpc.errors import ChatbotError, InvalidArgument, NotFound
from services.rpc.log import configure_logging, where
from services.rpc.settings import StartupError, load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.memory.embedder.async_embedder import AsyncEmbedder

_COMMANDS = {
    "check": check,
    "reindex": reindex,
    "export": export,
    "import": import_file,
    "forget": forget,
    "stats": stats,
}


def main(arguments: Sequence[str], embedder: AsyncEmbedder | None = None) -> int:
    """Carries a command line out and returns the exit status (see `outcome`).

    Args:
        arguments: Without the program's name.
        embedder: What to embed with; None: what the settings name.
    """
    options = parse(arguments)
    try:
        settings = load_settings(MemorySettings)
        # What a command has to say it says itself; of the rooms it works with only errors are wanted.
        configure_logging("memory-command", "error", settings.log_format)
        return asyncio.run(_COMMANDS[options.command](options, Desk(settings, embedder)))
    except KeyboardInterrupt:
        say("Stopped.")
        return STOPPED
    except (StartupError, CannotRun, InvalidArgument, NotFound) as failure:
        say(f"error: {failure}")
        return CANNOT_RUN
    except ChatbotError as failure:
        say(f"error: {failure}")
        # A check that did not come to its end has found out nothing.
        return CANNOT_RUN if options.command == "check" else FAULTS
    except BrokenPipeError:
        # Whoever reads has gone; Python's own last flush would complain about that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAULTS
    except OSError as failure:
        place = f"{failure.filename}: " if failure.filename else ""
        say(f"error: {place}{failure.strerror or failure}.")
        return CANNOT_RUN
    except Exception as failure:  # a fault of ours; where it is helps whoever mends it
        say(f"error: Something went wrong that nobody expected: {where(failure)}.")
        return CANNOT_RUN if options.command == "check" else FAULTS
