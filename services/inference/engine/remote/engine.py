"""The engine whose model an OpenAI-compatible server holds."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

import structlog

from services.inference.engine.protocol import (
    EngineRequest,
    Event,
    FinishReason,
    Load,
    ModelInfo,
    Prompt,
    PromptCount,
    UntokenizedPrompt,
)
from services.inference.engine.remote import failures
from services.inference.engine.remote.body import ask
from services.inference.engine.remote.chunk import Chunk, read_chunk
from services.inference.engine.remote.client import RemoteClient
from services.inference.engine.remote.discovery import RemoteModel, discover
from services.inference.engine.remote.failures import BadAnswer
from services.inference.engine.remote.prompts import EstimatedPrompts, Prompts, TokenizedPrompts
from services.inference.engine.remote.reply import RemoteReply
from services.inference.engine.throughput import Throughput
from services.rpc.errors import EngineLost, Overloaded, Unavailable, invalid_field
from services.rpc.server_address import parse_server_address

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from services.inference.engine.protocol import ChatPrompt
    from services.inference.progress import Progress
    from services.inference.settings import InferenceSettings

_log = structlog.get_logger()

CHECK_SECONDS = 5.0
"""How often the server is asked whether it is there."""

_CHECKS_UNTIL_LOST = 2

_ROOM_ENDED = "length"
_BROKEN = {"abort", "error"}
"""Reasons by which vLLM and SGLang tell that they gave a reply up."""


def load_remote_engine(settings: InferenceSettings, progress: Progress) -> RemoteEngine:
    """Waits for the server that the setting `model` names, and returns the engine that asks it. Blocks.

    Raises:
        StartupError: It cannot be used; the message says what to do.
    """
    client = _client(settings)

    async def look() -> RemoteModel:
        try:
            return await discover(client, settings, progress)
        finally:
            await client.close()

    found = asyncio.run(look())
    # A client belongs to the loop that it is used on.
    return RemoteEngine(found, _client(settings))


def _client(settings: InferenceSettings) -> RemoteClient:
    return RemoteClient(
        parse_server_address(settings.model, "model", "remote_api_key"),
        settings.remote_api_key,
        connect_seconds=settings.remote_connect_seconds,
        silence_seconds=settings.remote_silence_seconds,
    )


class RemoteEngine:
    """Has one model of one server generate. The server batches, and queues where it must.

    Args:
        model: The model.
        client: Asks its server; closed with the engine.
    """

    def __init__(self, model: RemoteModel, client: RemoteClient) -> None:
        self._name = model.name
        self._model = model.info
        self._prompts: Prompts = (
            EstimatedPrompts() if model.tokenizer is None else TokenizedPrompts(model.tokenizer(client, model.name))
        )
        self._client = client
        self._running: set[RemoteReply] = set()
        self._throughput = Throughput()

    @property
    def model(self) -> ModelInfo:
        """The model."""
        return self._model

    async def tokenize(self, prompt: Prompt, cache_key: str = "") -> tuple[int, ...] | UntokenizedPrompt:
        """As `Engine.tokenize`."""
        with _logged():
            return await self._prompts.tokenize(prompt)

    async def count(self, prompt: Prompt, cache_key: str = "") -> PromptCount:
        """As `Engine.count`; an estimate where the server lends no tokenizer."""
        with _logged():
            return await self._prompts.count(prompt, cache_key)

    async def count_texts(self, texts: list[str], cache_key: str = "") -> list[int]:
        """As `Engine.count_texts`; likewise."""
        with _logged():
            return await self._prompts.count_texts(texts, cache_key)

    async def system_tokens(self, prompt: ChatPrompt, key: str) -> int:
        """As `Engine.system_tokens`: the server shares what it shares."""
        del prompt, key
        return 0

    async def check_schema(self, schema: str) -> None:
        """As `Engine.check_schema`: takes any: the server knows, and refuses when it is asked to generate."""

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Event, None]:
        """As `Engine.generate`. `Started` comes with the first token: only then do servers tell what was cached."""
        reply = RemoteReply(request, self._model.context_tokens)
        self._running.add(reply)
        try:
            with _logged():
                async with aclosing(self._events(request, reply)) as events:
                    async for event in events:
                        yield event
        finally:
            self._running.remove(reply)

    def load(self) -> Load:
        """As `Engine.load`, of this service's own requests: the server may have others."""
        used = sum(reply.prompt_tokens + reply.generated for reply in self._running)
        return Load(len(self._running), used, 0, self._throughput.tokens_per_second())

    async def died(self) -> None:
        """As `Engine.died`: never, since a server may come back."""
        await asyncio.Event().wait()

    async def changes(self) -> AsyncGenerator[bool, None]:
        """As `Reachable.changes`. It is out of reach once it has not answered twice in a row."""
        reachable, failed = True, 0
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            failed = 0 if await self._client.answers() else failed + 1
            if reachable != (failed < _CHECKS_UNTIL_LOST):
                reachable = not reachable
                _log.warning("the model's server", reachable=reachable, address=self._client.address.base)
                yield reachable

    async def close(self) -> None:
        """As `Engine.close`."""
        await self._client.close()

    async def _events(self, request: EngineRequest, reply: RemoteReply) -> AsyncGenerator[Event, None]:
        started = False
        ended: str | None = None
        overdue = False
        async with aclosing(self._chunks(request)) as chunks:
            while reply.stop is None:
                try:
                    async with asyncio.timeout(_left(request)):
                        chunk = await anext(chunks, None)
                except TimeoutError:
                    overdue = True
                    break
                except EngineLost:
                    if ended is None:
                        raise
                    break  # all of the reply has come
                if chunk is None:
                    break
                before = reply.generated
                delta = reply.feed(chunk)
                self._throughput.note(max(0, reply.generated - before))
                ended = chunk.finish_reason or ended
                if not started and (reply.generated or delta is not None or ended):
                    started = True
                    yield reply.started()
                if delta is not None:
                    yield delta
        if not started and (overdue or ended):
            yield reply.started()
        reason = self._reason(reply, ended, overdue=overdue)
        held = reply.end()
        if held is not None:
            yield held
        yield reply.finished(reason)

    def _reason(self, reply: RemoteReply, ended: str | None, *, overdue: bool) -> FinishReason:
        if reply.stop is not None:
            return FinishReason.STOP_STRING
        if ended in _BROKEN or (ended is None and not overdue):
            raise failures.broken_off(self._client.address)
        if ended is None:
            return FinishReason.DEADLINE
        return reply.out_of_room() if ended == _ROOM_ENDED else FinishReason.EOS

    async def _chunks(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        if isinstance(self._prompts, EstimatedPrompts) and request.untokenized is None:
            raise invalid_field("token_ids", "cannot be taken: the model's server lends no tokenizer")
        path, body = ask(self._name, self._model.context_tokens, request)
        async with aclosing(self._client.stream(path, body)) as events:
            async for event in events:
                try:
                    chunk = read_chunk(event)
                except BadAnswer:
                    raise failures.broken_off(self._client.address) from None
                yield chunk


def _left(request: EngineRequest) -> float | None:
    return None if request.deadline is None else request.deadline - time.monotonic()


@contextmanager
def _logged() -> Generator[None, None, None]:
    """Logs what a server does to requests. Its messages are ours, so they hold no text of a conversation."""
    try:
        yield
    except (Unavailable, Overloaded) as failure:
        _log.warning("request lost", reason=failure.reason, problem=failure.message)
        raise
