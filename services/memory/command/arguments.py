"""The command line of the operators' commands."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "python -m services.memory.command"

_DESCRIPTION = """\
Looks at the memory's database and mends it, under the settings of the memory service (CHATBOT_DATA_DIR,
CHATBOT_DATABASE_URL, CHATBOT_EMBEDDER). An SQLite file belongs to one process: stop the memory service first, or give
export, import, forget and stats its --address. On PostgreSQL commands run beside the service.
"""
_EPILOG = """\
exit status: 0 done (check: nothing is wrong), 1 not done (check: something is wrong), 2 it cannot run as things are,
130 ended by Ctrl-C or SIGTERM. Errors and progress go to standard error.
"""
_ADDRESS = "HOST:PORT of a running memory service to work through, instead of on the database itself"


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for.

    Attributes:
        command: `check`, `reindex`, `export`, `import`, `forget` or `stats`.
        file: To export to or import from; None: standard output or input.
        user_id: Whose; None: every user's.
        conversation: Id of the one to export; None: all.
        address: Of a running service; None: the database itself.
        all: `reindex`: what has a good vector, too.
        force: `export`: over a file that is there.
        yes: `forget`: without asking.
        json: `stats`: as JSON.
        largest: `stats`: how many users to name.
    """

    command: str
    file: Path | None = None
    user_id: str | None = None
    conversation: str | None = None
    address: str | None = None
    all: bool = False
    force: bool = False
    yes: bool = False
    json: bool = False
    largest: int = 0


def parse(arguments: Sequence[str]) -> Options:
    """Reads a command line. Ends the process, as argparse does, after `--help` (0) and where it is wrong (2)."""
    given = vars(_parser().parse_args(arguments))
    file = given.pop("file", None)
    return Options(**given, file=None if file in (None, "-") else Path(file))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        summary = f"{text[0].lower()}{text[1:].split('.', maxsplit=1)[0]}"
        return commands.add_parser(name, help=summary, description=text, epilog=_EPILOG, allow_abbrev=False)

    command(
        "check",
        "Tells what is wrong with the database. Reads every row: damage to an SQLite file, rows that hang on nothing, "
        "sequences, counts, request ids, vectors and words of the present embedder. Names users and conversations, "
        "never a text.",
    )

    reindex = command(
        "reindex",
        "Embeds what the present embedder has no good vector of. Ctrl-C keeps what is done; the next run goes on.",
    )
    reindex.add_argument("--all", action="store_true", help="embed everything anew; after Ctrl-C go on without --all")

    export = command(
        "export",
        "Writes conversations as lines of JSON. Without --user those of every user, each after a line that names them.",
    )
    export.add_argument("file", metavar="FILE", help="file to write, when it is complete; - for standard output")
    export.add_argument("--user", dest="user_id", metavar="USER", help="only this user's; needed with --address")
    export.add_argument("--conversation", metavar="NAME", help="only this one of the user's: conversations/…")
    export.add_argument("--force", action="store_true", help="write over a file that is there")
    export.add_argument("--address", metavar="HOST:PORT", help=_ADDRESS)

    imports = command("import", "Takes an export in, all of it or nothing. Conversations get new names.")
    imports.add_argument("file", metavar="FILE", help="file to read; - for standard input")
    imports.add_argument(
        "--user", dest="user_id", metavar="USER", help="whose it is to be, where the file does not say it"
    )
    imports.add_argument("--address", metavar="HOST:PORT", help=f"{_ADDRESS}; for one user's file")

    forget = command("forget", "Deletes everything of a user, for good.")
    forget.add_argument("user_id", metavar="USER", help="whose")
    forget.add_argument("--yes", action="store_true", help="do not ask")
    forget.add_argument("--address", metavar="HOST:PORT", help=_ADDRESS)

    stats = command(
        "stats",
        "Tells how much is in the database; of a running service also how far embedding has come, and what its memory "
        "holds.",
    )
    stats.add_argument("--json", action="store_true", help="as one JSON object, for programs")
    stats.add_argument("--largest", type=_count, default=0, metavar="N", help="name the N users who have the most text")
    stats.add_argument("--address", metavar="HOST:PORT", help=f"{_ADDRESS}; it names no users")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1000:
        raise argparse.ArgumentTypeError("must be from 0 to 1000")
    return number
