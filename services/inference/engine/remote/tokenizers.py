"""Tokenizers that servers lend: vLLM's and llama.cpp's calls, which are not part of OpenAI's API.

What they return is what is generated from, token by token, so that counts are exact. Text of a conversation that
spells a control token is encoded as the letters it is written in.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from services.inference.engine.protocol import Message, PromptRefused
from services.inference.engine.remote import failures
from services.inference.engine.remote.body import as_messages
from services.inference.engine.remote.control_tokens import broken_up, encode_apart, look_alikes, written
from services.inference.engine.remote.failures import Refusal
from services.rpc.errors import EngineLost

if TYPE_CHECKING:
    from services.inference.engine.remote.client import RemoteClient

_PROBE = (Message("user", "x"),)


class ServerTokenizer(Protocol):
    """What a server's tokenizer can do.

    Its methods raise ChatbotError, as `failures` has it, where the server cannot be asked.
    """

    def __init__(self, client: RemoteClient, model: str) -> None:
        """Lends that of a model."""

    async def encode_chat(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """Returns the tokens of a conversation, the opening of the reply included.

        Raises:
            PromptRefused: The model's chat template cannot take these messages.
        """

    async def encode_text(self, text: str) -> tuple[int, ...]:
        """Returns the tokens of a text as it stands, after the model's opening token where it has one."""

    async def count_content(self, text: str) -> int:
        """Returns how many tokens a message's text has by itself."""


async def find_tokenizer(client: RemoteClient, model: str) -> type[ServerTokenizer] | None:
    """Returns the tokenizer that a server lends; None where it lends none.

    Raises:
        ChatbotError: The server cannot be asked at the moment.
    """
    candidates: tuple[type[VllmTokenizer | LlamaCppTokenizer], ...] = (VllmTokenizer, LlamaCppTokenizer)
    for candidate in candidates:
        try:
            if await candidate(client, model).works():
                return candidate
        except Refusal as refusal:
            if refusal.status in {429, 503}:
                raise failures.refused(client.address, refusal) from None
        except EngineLost:
            continue  # it answered with a page or the like: it has no such call
    return None


class VllmTokenizer:
    """vLLM's `/tokenize`, which applies the chat template."""

    def __init__(self, client: RemoteClient, model: str) -> None:
        self._client = client
        self._model = model

    async def works(self) -> bool:
        """Tells whether the server has it. Raises Refusal as the server does."""
        return bool(await self._tokenize(messages=as_messages(_PROBE)))

    async def encode_chat(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """As `ServerTokenizer.encode_chat`."""
        try:
            tokens, controls = await asyncio.gather(
                self._tokenize(messages=as_messages(messages), add_generation_prompt=True),
                self._look_alikes(written(messages)),
            )
            return await encode_apart(self, messages) if controls else tokens
        except Refusal as refusal:
            raise _of_template(self._client, refusal) from None

    async def encode_text(self, text: str) -> tuple[int, ...]:
        """As `ServerTokenizer.encode_text`."""
        return await self._of_text(text, special=True)

    async def count_content(self, text: str) -> int:
        """As `ServerTokenizer.count_content`."""
        return len(await self._of_text(text, special=False))

    async def render(self, messages: tuple[Message, ...]) -> str:
        """As `TemplateEncoder.render`: there is no call for it, so the tokens of the prompt are decoded."""
        tokens = await self._tokenize(messages=as_messages(messages), add_generation_prompt=True)
        answer = await self._client.ask_server("/detokenize", {"model": self._model, "tokens": tokens})
        return str(answer.get("prompt") or "")

    async def encode_template(self, part: str, *, first: bool) -> tuple[int, ...]:
        """As `TemplateEncoder.encode_template`. The opening token is in the part already, as decoded."""
        return await self._tokenize(prompt=part, add_special_tokens=False)

    async def encode_letters(self, text: str) -> tuple[int, ...]:
        """As `TemplateEncoder.encode_letters`: in pieces, none of which spells anything."""
        pieces = broken_up(text, await self._look_alikes(text))
        encoded = await asyncio.gather(*(self._tokenize(prompt=p, add_special_tokens=False) for p in pieces if p))
        return tuple(token for tokens in encoded for token in tokens)

    async def _look_alikes(self, text: str) -> frozenset[str]:
        asked = {"model": self._model, "prompt": text, "add_special_tokens": False, "return_token_strs": True}
        answer = await self._client.ask_server("/tokenize", asked)
        return look_alikes(answer.get("token_strs") or ())

    async def _of_text(self, text: str, *, special: bool) -> tuple[int, ...]:
        try:
            return await self._tokenize(prompt=text, add_special_tokens=special)
        except Refusal as refusal:
            raise failures.refused(self._client.address, refusal) from None

    async def _tokenize(self, **asked: Any) -> tuple[int, ...]:
        return _tokens(await self._client.ask_server("/tokenize", {"model": self._model, **asked}))


class LlamaCppTokenizer:
    """llama.cpp's `/apply-template` and `/tokenize`."""

    def __init__(self, client: RemoteClient, model: str) -> None:
        self._client = client
        self._model = model

    async def works(self) -> bool:
        """Tells whether the server has it. Raises Refusal as the server does."""
        return bool(await self._tokenize("x", opening=False, controls=False)) and bool(await self.render(_PROBE))

    async def encode_chat(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        """As `ServerTokenizer.encode_chat`."""
        texts = written(messages)
        try:
            rendered, as_controls, as_letters = await asyncio.gather(
                self.render(messages),
                self._tokenize(texts, opening=False, controls=True),
                self._tokenize(texts, opening=False, controls=False),
            )
            if as_controls == as_letters:
                return await self._tokenize(rendered, opening=True, controls=True)
            return await encode_apart(self, messages)
        except Refusal as refusal:
            raise _of_template(self._client, refusal) from None

    async def encode_text(self, text: str) -> tuple[int, ...]:
        """As `ServerTokenizer.encode_text`."""
        return await self._of_text(text, opening=True)

    async def count_content(self, text: str) -> int:
        """As `ServerTokenizer.count_content`."""
        return len(await self._of_text(text, opening=False))

    async def _of_text(self, text: str, *, opening: bool) -> tuple[int, ...]:
        try:
            return await self._tokenize(text, opening=opening, controls=opening)
        except Refusal as refusal:
            raise failures.refused(self._client.address, refusal) from None

    async def encode_template(self, part: str, *, first: bool) -> tuple[int, ...]:
        """As `TemplateEncoder.encode_template`."""
        return await self._tokenize(part, opening=first, controls=True)

    async def encode_letters(self, text: str) -> tuple[int, ...]:
        """As `TemplateEncoder.encode_letters`."""
        return await self._tokenize(text, opening=False, controls=False)

    async def render(self, messages: tuple[Message, ...]) -> str:
        """As `TemplateEncoder.render`."""
        asked = {"model": self._model, "messages": as_messages(messages)}
        answer = await self._client.ask_server("/apply-template", asked)
        prompt = answer.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    async def _tokenize(self, text: str, *, opening: bool, controls: bool) -> tuple[int, ...]:
        asked = {"model": self._model, "content": text, "add_special": opening, "parse_special": controls}
        return _tokens(await self._client.ask_server("/tokenize", asked))


def _tokens(answer: dict[str, Any]) -> tuple[int, ...]:
    tokens = answer.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        return ()
    return tuple(tokens)


def _of_template(client: RemoteClient, refusal: Refusal) -> Exception:
    # A template that raises is 400 at vLLM and 500 at llama.cpp.
    if refusal.status in {400, 500} and not refusal.about_context:
        return PromptRefused("cannot be rendered by the chat template of the model's server")
    return failures.refused(client.address, refusal)
