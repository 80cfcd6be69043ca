"""A conversation as a file: Markdown to read, or lines of JSON to import again."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from client.terminal.recalled import speaker, when
from client.terminal.text import printable
from client.values import Conversation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import IO

    from client.terminal.messages import Words
    from client.values import Message

SUFFIXES = (".md", ".jsonl")
"""How the names of exports end."""

_LONGEST_NAME = 60


def file_name(title: str) -> str:
    """Returns what a conversation's export is called where nobody says."""
    words = "-".join(re.findall(r"\w+", title.lower()))[:_LONGEST_NAME].strip("-_")
    return f"{words or 'conversation'}.md"


@contextlib.contextmanager
def written(path: Path, *, replace: bool) -> Iterator[IO[str]]:
    """Opens a file for an export, readable by its owner only. It is there when all of it is, or not at all.

    Args:
        path: Where.
        replace: Whether a file that is there already makes way.

    Raises:
        FileExistsError: There is a file, and it is not to make way.
        OSError: The file cannot be written.
    """
    if not replace and path.exists():
        raise FileExistsError(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
        if replace:
            Path(name).replace(path)
        else:
            # Fails where somebody else was faster.
            _publish(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)


def _publish(source: Path, path: Path) -> None:
    try:
        path.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        with path.open("xb"):
            pass
        source.replace(path)


async def markdown_of(records: AsyncIterator[Conversation | Message], words: Words) -> AsyncIterator[str]:
    """Yields an export as Markdown: each conversation a heading, each message one below it."""
    first = True
    async for record in records:
        if isinstance(record, Conversation):
            title = " ".join(printable(record.title).split()) or words("untitled")
            yield f"{'' if first else chr(10)}# {title}\n"
            if record.system_prompt:
                yield f"\n## {words('export_system')}\n\n{printable(record.system_prompt).rstrip()}\n"
            first = False
        elif not record.superseded:
            yield f"\n## {printable(speaker(record, words))} · {when(record.create_time)}\n"
            if content := printable(record.content).rstrip():
                yield f"\n{content}\n"
