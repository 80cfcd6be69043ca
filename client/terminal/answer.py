"""The chat without a person at the keyboard: one message, its reply on standard output.

Exit statuses: 0 a reply, whole or cut off at a limit; 1 no whole reply; 2 wrong use, nothing to say; 3 nothing answers
at the address; 4 the backend does not take the key, or asks for one; 130 stopped with Ctrl-C. What had been said by
then stays said: the backend keeps a reply as far as it got.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from client.errors import ChatbotError, ConversationNotFound, NotConnected, PermissionDenied, Unauthenticated
from client.requests import new_request_id
from client.terminal.json_answer import JsonAnswer
from client.terminal.languages import language_notice, possible_languages
from client.terminal.options import WrongUse
from client.terminal.text_answer import TextAnswer
from client.values import FinishReason, RecallConfig, SamplingConfig

if TYPE_CHECKING:
    from typing import BinaryIO

    from client.chat_client import ChatClient
    from client.terminal.messages import Words
    from client.terminal.options import Target

FAILED = 1
WRONG_USE = 2
NOT_CONNECTED = 3
NO_KEY = 4
INTERRUPTED = 130

LATEST = "last"
"""Stands for the conversation that was used last."""

_MOST_BYTES = 1_000_000
"""The longest message that the backend takes, in bytes of UTF-8."""

_NO_REPLY = frozenset(
    {FinishReason.UNSPECIFIED, FinishReason.CANCELLED, FinishReason.DEADLINE, FinishReason.ENGINE_LOST}
)


@dataclass(frozen=True, slots=True)
class Question:
    """What is said, and how it is to be answered."""

    text: str
    conversation: str = ""
    """Resource name, or `LATEST`; empty: a new one."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    recall: RecallConfig = field(default_factory=RecallConfig)
    request_id: str = field(default_factory=new_request_id)


def text_to_say(question: str, piped: BinaryIO | None, words: Words) -> str:
    """Returns the message: what was piped in, and the question after it.

    The question stands last, where a model heeds it most, and a second one about the same text finds the text cached.

    Args:
        question: May be empty.
        piped: Standard input where it is no terminal.
        words: The language.

    Raises:
        WrongUse: That is no message.
    """
    context = ""
    if piped is not None:
        data = piped.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise WrongUse(words("input_too_long", most=_MOST_BYTES))
        try:
            context = data.decode()
        except UnicodeDecodeError:
            raise WrongUse(words("input_not_utf8")) from None
    parts = [part for part in (context.strip("\r\n"), question) if part.strip()]
    if not parts:
        raise WrongUse(words("empty_input" if piped is not None else "ask_empty"))
    return "\n\n".join(parts)


async def answer(target: Target, question: Question, words: Words, *, as_json: bool) -> int:
    """Says something, prints the reply and returns the exit status."""
    output = JsonAnswer(question.request_id) if as_json else TextAnswer(words, target.address)
    try:
        async with target.client() as client:
            if notice := await _notice(client, question.text):
                output.notice(notice)
            reply = client.chat(
                question.text,
                conversation=await _conversation(client, question.conversation, words),
                request_id=question.request_id,
                sampling=question.sampling,
                recall=question.recall,
            )
            try:
                await output.reply(reply)
            except asyncio.CancelledError:
                output.stopped(reply)
                raise
    except ChatbotError as error:
        status = status_of(error)
        output.error(error, status)
        return status
    output.finished(reply)
    reason = reply.finished.message.finish_reason if reply.finished is not None else FinishReason.CANCELLED
    return FAILED if reason in _NO_REPLY else 0


def refuse(message: str, *, as_json: bool) -> int:
    """Tells that the command line asks for what cannot be done, and returns the exit status."""
    if as_json:
        JsonAnswer("").refused(message, WRONG_USE)
    else:
        sys.stderr.write(message + "\n")
    return WRONG_USE


def status_of(error: ChatbotError) -> int:
    """Returns the exit status that an error ends the program with."""
    if isinstance(error, NotConnected):
        return NOT_CONNECTED
    if isinstance(error, (Unauthenticated, PermissionDenied)):
        return NO_KEY
    return FAILED


async def _notice(client: ChatClient, text: str) -> str | None:
    if not possible_languages(text):
        return None
    model = await client.get_model()
    return language_notice(text, model.id, model.languages)


async def _conversation(client: ChatClient, name: str, words: Words) -> str:
    if name != LATEST:
        return name
    async for latest in client.list_conversations(page_size=1):
        return latest.name
    raise ConversationNotFound(words("no_latest"))
