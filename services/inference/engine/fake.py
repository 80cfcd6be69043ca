"""An engine without a model: answers from a script, word by word. For tests of whatever stands before an engine."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

from services.inference.engine.protocol import (
    ChatPrompt,
    Delta,
    EngineDied,
    EngineRequest,
    Event,
    Finished,
    FinishReason,
    Load,
    ModelInfo,
    Prompt,
    PromptCount,
    PromptRefused,
    SchemaRefused,
    Started,
    TokenLogprob,
)
from services.inference.engine.stop_strings import StopStrings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

REFUSED_TEXT = "refuse me"
"""A prompt that holds this is one that the chat template cannot take; a schema, one that no reply can be held to."""

_UNTIL_READ_SECONDS = 0.1
"""Between the last token of an engine that dies and its death: gRPC drops what a client has not read by then."""

_WORD = re.compile(r"\s*\S+|\s+$")


class FakeEngine:
    """Generates a scripted reply; a token is a word with the white space before it.

    Args:
        reply: The tokens of every reply, or what makes them of the prompt's text.
        context_tokens: Most tokens that prompt and reply can have together.
        pause_after: Where set, every reply waits after so many tokens until `resume` is set.
        die_after: Where set, the engine dies a moment after so many tokens.
        languages: What the model is declared for.
    """

    def __init__(
        self,
        reply: Sequence[str] | Callable[[str], Sequence[str]] = ("Hello", " there", "."),
        *,
        context_tokens: int = 4096,
        pause_after: int | None = None,
        die_after: int | None = None,
        languages: tuple[str, ...] = ("en",),
    ) -> None:
        self._reply = reply
        self._words: list[str] = []
        self._ids: dict[str, int] = {}
        self._pause_after = pause_after
        self._die_after = die_after
        self._running: dict[int, int] = {}
        self._death = asyncio.Event()
        self.resume = asyncio.Event()
        """Lets paused replies go on."""
        self.requests: list[EngineRequest] = []
        """Every request that was taken up, oldest first."""
        self.counted_for: list[str] = []
        """The cache key of everything that was counted, oldest first."""
        self._model = ModelInfo(
            id="fake",
            weights="fp32",
            device="cpu",
            context_tokens=context_tokens,
            vocabulary_size=1_000_000,
            parameters=1,
            architecture="fake",
            description="answers from a script",
            languages=languages,
        )

    @property
    def model(self) -> ModelInfo:
        """The model."""
        return self._model

    async def tokenize(self, prompt: Prompt, cache_key: str = "") -> tuple[int, ...]:
        """As `Engine.tokenize`: `<role>` and the content's words for each message, then `<assistant>`."""
        if not isinstance(prompt, ChatPrompt):
            return self._encode(prompt.text)
        if any(REFUSED_TEXT in m.content for m in prompt.messages):
            raise PromptRefused("cannot be rendered by the model's chat template")
        parts = [part for m in prompt.messages for part in (f"\n<{m.role}>", m.content)]
        return tuple(token for part in (*parts, "\n<assistant>") for token in self._encode(part))

    async def count(self, prompt: Prompt, cache_key: str = "") -> PromptCount:
        """As `Engine.count`."""
        self.counted_for.append(cache_key)
        total = len(await self.tokenize(prompt))
        if not isinstance(prompt, ChatPrompt):
            return PromptCount(total)
        return PromptCount(total, tuple(1 + len(self._encode(m.content)) for m in prompt.messages))

    async def count_texts(self, texts: list[str], cache_key: str = "") -> list[int]:
        """As `Engine.count_texts`."""
        self.counted_for.append(cache_key)
        return [len(self._encode(text)) for text in texts]

    async def system_tokens(self, prompt: ChatPrompt, key: str) -> int:
        """As `Engine.system_tokens`."""
        return (await self.count(prompt)).per_message[0] if prompt.messages[0].role == "system" else 0

    async def check_schema(self, schema: str) -> None:
        """As `Engine.check_schema`. The reply is the scripted one all the same."""
        if REFUSED_TEXT in schema:
            raise SchemaRefused("is not supported")

    def text_of(self, tokens: tuple[int, ...]) -> str:
        """Returns the text that tokens of this engine stand for."""
        return "".join(self._words[token] for token in tokens)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Event, None]:
        """As `Engine.generate`."""
        self.requests.append(request)
        key = len(self.requests)
        began = time.monotonic()
        queued = max(0.0, began - request.arrived)
        self._running[key] = len(request.prompt)
        stops = StopStrings(request.sampling.stop)
        generated = 0
        reason, stop = FinishReason.EOS, ""
        try:
            yield Started(0, queued)
            for piece in self._pieces(request):
                if generated == self._die_after:
                    await asyncio.sleep(_UNTIL_READ_SECONDS)
                    self._death.set()
                    raise EngineDied
                if generated == self._pause_after and not await self._resumed(request.deadline):
                    reason = FinishReason.DEADLINE
                    break
                generated += 1
                self._running[key] += 1
                match = stops.feed(piece)
                if match.text:
                    yield Delta(match.text, 1, self._logprobs(request, piece))
                if match.stop is not None:
                    reason, stop = FinishReason.STOP_STRING, match.stop
                    break
                if self._running[key] == self._model.context_tokens:
                    reason = FinishReason.CONTEXT_FULL
                    break
                if generated == request.sampling.max_tokens:
                    reason = FinishReason.MAX_TOKENS
                    break
                await asyncio.sleep(0)
            held = stops.end()
            if held:
                yield Delta(held, 0)
            del self._running[key]
            seconds = time.monotonic() - began
            yield Finished(reason, len(request.prompt), 0, generated, queued, 0.0, seconds, stop)
        finally:
            self._running.pop(key, None)

    def load(self) -> Load:
        """As `Engine.load`."""
        return Load(len(self._running), sum(self._running.values()), 8 * self._model.context_tokens, 0.0)

    async def died(self) -> None:
        """As `Engine.died`."""
        await self._death.wait()

    async def close(self) -> None:
        """As `Engine.close`."""
        self.resume.set()

    def _pieces(self, request: EngineRequest) -> Sequence[str]:
        return self._reply(self.text_of(request.prompt)) if callable(self._reply) else self._reply

    async def _resumed(self, deadline: float | None) -> bool:
        try:
            async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                await self.resume.wait()
        except TimeoutError:
            return False
        return True

    def _logprobs(self, request: EngineRequest, piece: str) -> tuple[TokenLogprob, ...]:
        count = request.sampling.logprobs
        if count is None:
            return ()
        (token, *_) = self._encode(piece) or (0,)
        top = tuple(TokenLogprob(token, piece.encode(), -0.5 - n) for n in range(count))
        return (TokenLogprob(token, piece.encode(), -0.5, top),)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._id_of(word) for word in _WORD.findall(text))

    def _id_of(self, word: str) -> int:
        if word not in self._ids:
            self._ids[word] = len(self._words)
            self._words.append(word)
        return self._ids[word]
