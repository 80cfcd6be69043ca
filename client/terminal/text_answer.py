"""An answer as plain text: the reply on standard output, everything about it on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from client.terminal.lines import error_line, note_of
from client.terminal.screen import Screen
from client.terminal.text import printable

if TYPE_CHECKING:
    from client.errors import ChatbotError
    from client.reply import Reply
    from client.terminal.messages import Words


class TextAnswer:
    """Prints one answer.

    Args:
        words: The language.
        address: Of the backend, for what is said where nothing answers.
    """

    def __init__(self, words: Words, address: str) -> None:
        self._words = words
        self._address = address

    def notice(self, text: str) -> None:
        """Tells something that does not keep the reply from coming."""
        sys.stderr.write(printable(text) + "\n")

    async def reply(self, reply: Reply) -> None:
        """Prints the reply as it comes. Raises what the reply does."""
        await Screen(plain=True).reply(reply)

    def stopped(self, reply: Reply) -> None:
        """Is told that the person stopped it, who knows."""

    def finished(self, reply: Reply) -> None:
        """Tells why the reply ended, where it did not end by itself."""
        if reply.finished is not None and (note := note_of(reply.finished.message.finish_reason)):
            self.notice(self._words(note))

    def error(self, error: ChatbotError, _status: int) -> None:
        """Tells what went wrong."""
        self.notice(error_line(self._words, error, self._address))
