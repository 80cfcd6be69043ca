"""The command line of `keys`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from services.gateway.identity import Role
from services.gateway.identity.api_key import MAX_NAME_LENGTH
from services.rpc.request_rules import MAX_USER_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DESCRIPTION = """\
Gives out API keys and takes them back, in the file that CHATBOT_API_KEYS_FILE names (default: api-keys.json in the data
folder). Once there is one, the gateway lets in nobody without a key. A gateway that is running takes every change in at
its next call.
"""
_EPILOG = """\
exit status: 0 done, 2 it cannot be done as things are; nothing was changed.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for.

    Attributes:
        command: `add`, `list` or `revoke`.
        name: The key's name; of `revoke`: its name or id.
        user_id: Who calls with it.
        role: What its holder may do.
        lifetime: From now on; None: until it is revoked.
        json: `list`: as JSON.
    """

    command: str
    name: str = ""
    user_id: str = ""
    role: Role = Role.USER
    lifetime: timedelta | None = None
    json: bool = False


def parse(arguments: Sequence[str]) -> Options:
    """Reads a command line. Ends the process, as argparse does, after `--help` (0) and where it is wrong (2)."""
    return Options(**vars(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python run.py keys",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    add = commands.add_parser(
        "add",
        help="makes a key and prints it, this once",
        description="Makes a key and prints it on standard output: this once, since only its digest is kept.",
        allow_abbrev=False,
    )
    add.add_argument("name", metavar="NAME", type=_of_length(MAX_NAME_LENGTH), help="what to call it, to find it by")
    add.add_argument(
        "--user",
        dest="user_id",
        metavar="USER",
        required=True,
        type=_of_length(MAX_USER_ID_LENGTH),
        help="who calls with it: whose conversations it opens",
    )
    add.add_argument(
        "--role", type=Role, choices=list(Role), default=Role.USER, help="admin: may also call for any other user"
    )
    add.add_argument(
        "--days", dest="lifetime", type=_days, metavar="DAYS", help="how long it holds; default: until it is revoked"
    )

    listing = commands.add_parser(
        "list", help="lists keys, never what they are", description="Lists all keys.", allow_abbrev=False
    )
    listing.add_argument("--json", action="store_true", help="as lines of JSON, for programs")

    revoke = commands.add_parser(
        "revoke", help="takes a key back, for good", description="Takes a key back, for good.", allow_abbrev=False
    )
    revoke.add_argument("name", metavar="NAME", help="its name, or its id")
    return parser


def _of_length(longest: int) -> Callable[[str], str]:
    def checked(text: str) -> str:
        if not text.strip() or len(text) > longest or not text.isprintable():
            raise argparse.ArgumentTypeError(f"must be 1 to {longest} printable characters")
        return text

    return checked


def _days(text: str) -> timedelta:
    try:
        days = float(text)
    except ValueError:
        days = 0
    if not 0 < days <= 36500:
        raise argparse.ArgumentTypeError("must be a number over 0 and at most 36500")
    return timedelta(days=days)
