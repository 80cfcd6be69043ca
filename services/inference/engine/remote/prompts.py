"""Prompts into tokens or numbers of tokens: by the server's tokenizer, or estimated where it lends none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from services.inference.engine.piece_encoder import digest_of
from services.inference.engine.protocol import (
    ChatPrompt,
    Message,
    Prompt,
    PromptCount,
    Role,
    UntokenizedPrompt,
)
from services.inference.engine.recently_used import RecentlyUsed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.inference.engine.remote.tokenizers import ServerTokenizer

_AT_ONCE = 8
_REMEMBERED = 16384
_PROBE = "x"

_LETTERS_A_TOKEN = 3
_BYTES_A_TOKEN = 2
_TEMPLATE_TOKENS = 8


class Prompts(Protocol):
    """What an engine needs of prompts, as `Engine` has it."""

    async def tokenize(self, prompt: Prompt) -> tuple[int, ...] | UntokenizedPrompt:
        """As `Engine.tokenize`."""

    async def count(self, prompt: Prompt, cache_key: str) -> PromptCount:
        """As `Engine.count`."""

    async def count_texts(self, texts: list[str], cache_key: str) -> list[int]:
        """As `Engine.count_texts`."""


class TokenizedPrompts:
    """Exact, by the server's tokenizer.

    A message's share is the tokens of its content, asked for once for a cache key and remembered (its digest, not its
    text), plus what the template adds around a message, measured once.
    """

    def __init__(self, tokenizer: ServerTokenizer) -> None:
        self._tokenizer = tokenizer
        self._contents: RecentlyUsed[bytes, int] = RecentlyUsed(_REMEMBERED)
        self._texts: RecentlyUsed[bytes, int] = RecentlyUsed(_REMEMBERED)
        self._around: dict[Role, tuple[int, int]] = {}

    async def tokenize(self, prompt: Prompt) -> tuple[int, ...]:
        """As `Engine.tokenize`."""
        if isinstance(prompt, ChatPrompt):
            return await self._tokenizer.encode_chat(prompt.messages)
        return await self._tokenizer.encode_text(prompt.text)

    async def count(self, prompt: Prompt, cache_key: str) -> PromptCount:
        """As `Engine.count`."""
        if not isinstance(prompt, ChatPrompt):
            (count,) = await self.count_texts([prompt.text], cache_key)
            return PromptCount(count)
        total = len(await self.tokenize(prompt))
        contents = await self._counted(
            self._contents, self._tokenizer.count_content, [m.content for m in prompt.messages], cache_key
        )
        each, around = await self._template(prompt.messages[0].role)
        shares = [tokens + each for tokens in contents]
        shares[-1] += max(0, total - around - sum(shares))
        return PromptCount(total, tuple(shares))

    async def count_texts(self, texts: list[str], cache_key: str) -> list[int]:
        """As `Engine.count_texts`."""

        async def count(text: str) -> int:
            return len(await self._tokenizer.encode_text(text))

        return await self._counted(self._texts, count, texts, cache_key)

    async def _counted(
        self,
        remembered: RecentlyUsed[bytes, int],
        count: Callable[[str], Awaitable[int]],
        texts: list[str],
        cache_key: str,
    ) -> list[int]:
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(text: str) -> int:
            digest = digest_of(cache_key, text)
            known = remembered.get(digest)
            if known is None:
                async with places:
                    known = await count(text)
                remembered.put(digest, known)
            return known

        return await asyncio.gather(*map(one, texts))

    async def _template(self, first: Role) -> tuple[int, int]:
        """Returns the tokens that the template adds around each message, and around all that begin with a role."""
        if first not in self._around:
            probe = await self._tokenizer.count_content(_PROBE)
            one, three = await self._probe("user"), await self._probe("user", "assistant", "user")
            each = max(0, -(-(three - one) // 2) - probe)
            opening: tuple[Role, ...] = ("system", "user") if first == "system" else ("user",)
            around = await self._probe(*opening) - len(opening) * (each + probe)
            self._around[first] = each, max(0, around)
        return self._around[first]

    async def _probe(self, *roles: Role) -> int:
        return len(await self._tokenizer.encode_chat(tuple(Message(role, _PROBE) for role in roles)))


class EstimatedPrompts:
    """Estimated from the text: a token for every 3 ASCII letters and spaces, for every 2 bytes of other scripts, and
    for every digit or sign, and 8 for each message's share of the template.

    More than most tokenizers need, so that a prompt is rather found too long than cut by the server unseen. It is no
    bound: a model for English alone can need more for other scripts.
    """  # noqa: D205 - one sentence, as long as it is

    async def tokenize(self, prompt: Prompt) -> UntokenizedPrompt:
        """As `Engine.tokenize`."""
        return UntokenizedPrompt(prompt, (await self.count(prompt, "")).total)

    async def count_texts(self, texts: list[str], cache_key: str) -> list[int]:
        """As `Engine.count_texts`."""
        return [1 + _estimate(text) for text in texts]

    async def count(self, prompt: Prompt, cache_key: str) -> PromptCount:
        """As `Engine.count`."""
        if not isinstance(prompt, ChatPrompt):
            return PromptCount(1 + _estimate(prompt.text))
        shares = tuple(_TEMPLATE_TOKENS + _estimate(m.content) + _estimate(m.author or "") for m in prompt.messages)
        return PromptCount(_TEMPLATE_TOKENS + sum(shares), shares)


def _estimate(text: str) -> int:
    in_bytes = len(text.encode())
    ascii_only = text.encode("ascii", "ignore")
    letters = sum(map(ascii_only.count, _LETTERS))
    signs = len(ascii_only) - letters
    return -(-letters // _LETTERS_A_TOKEN) + signs + -(-(in_bytes - len(ascii_only)) // _BYTES_A_TOKEN)


_LETTERS = tuple(bytes([c]) for c in b" abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
