"""The chat without a person at the keyboard: standard input is one message, standard output its reply."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from client.chat_client import ChatClient
from client.errors import ChatbotError
from client.terminal.languages import language_notice, possible_languages
from client.terminal.screen import Screen
from client.terminal.session import error_line, note_of
from client.terminal.text import printable
from client.values import FinishReason

if TYPE_CHECKING:
    from client.terminal.messages import Words


async def answer_input(address: str, user: str | None, words: Words) -> int:
    """Says the whole of standard input in a new conversation and prints the reply.

    Returns:
        The exit status: 0; 1 where there is no whole reply; 2 where there is nothing to say.
    """
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        _complain(words("input_not_utf8"))
        return 2
    if not text.strip():
        _complain(words("empty_input"))
        return 2
    async with ChatClient(address, user) as client:
        try:
            if possible_languages(text):
                model = await client.get_model()
                if notice := language_notice(text, model.id, model.languages):
                    _complain(notice)
            reply = client.chat(text.strip("\n"))
            await Screen(plain=True).reply(reply)
        except ChatbotError as error:
            _complain(error_line(words, error, address))
            return 1
    reason = reply.finished.message.finish_reason if reply.finished is not None else FinishReason.CANCELLED
    if note := note_of(reason):
        _complain(words(note))
    return 1 if reason in (FinishReason.CANCELLED, FinishReason.ENGINE_LOST) else 0


def _complain(line: str) -> None:
    sys.stderr.write(printable(line) + "\n")
