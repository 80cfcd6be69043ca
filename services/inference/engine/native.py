"""The engine that runs a model in this process, as the event loop sees it.

The loop never waits for torch: it hands requests in, and gets events through a mailbox a request. What is computed
meanwhile is in `step_loop`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from services.inference.engine.grammar import Grammars
from services.inference.engine.loader import LoadedModel, load_model
from services.inference.engine.mailbox import Mailbox
from services.inference.engine.protocol import (
    ChatPrompt,
    EngineRequest,
    Event,
    Finished,
    Load,
    ModelInfo,
    Prompt,
    PromptCount,
)
from services.inference.engine.runner_choice import Readying, make_runner
from services.inference.engine.sequence import Sequence
from services.inference.engine.step_loop import StepLoop
from services.inference.engine.system_messages import SystemMessages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from services.inference.engine.model_source import ModelFolder
    from services.inference.engine.protocol import Engine
    from services.inference.progress import Progress
    from services.inference.settings import InferenceSettings

P = ParamSpec("P")
T = TypeVar("T")


def load_native_engine(settings: InferenceSettings, folder: ModelFolder, progress: Progress) -> Engine:
    """Loads the model in a folder as the settings ask for it, and starts its engine.

    Raises:
        StartupError: The model cannot be loaded; the message says what to do.
    """
    engine = NativeEngine(
        load_model(settings, folder, progress),
        max_running=settings.max_running_requests,
        prefix_cache_tokens=settings.prefix_cache_tokens,
        kv_cache_tokens=settings.kv_cache_tokens,
        draft_tokens=settings.draft_tokens,
        readying=Readying(settings.recording_seconds, progress.begin, fuse=settings.fuse_steps),
    )
    engine.grammars.read_ahead()
    return engine


class NativeEngine:
    """Runs one model for many requests at once."""

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        max_running: int,
        prefix_cache_tokens: int,
        kv_cache_tokens: int | None = None,
        draft_tokens: int = 0,
        readying: Readying | None = None,
    ) -> None:
        runner, limits = make_runner(loaded, max_running, kv_cache_tokens, prefix_cache_tokens, readying)
        self._model = replace(loaded.info, context_tokens=limits.context_tokens)
        self._tokenizer = loaded.tokenizer
        self.grammars = Grammars(loaded.tokenizer.as_json, loaded.end_tokens)
        """What makes replies satisfy a JSON Schema."""
        # One thread: the tokenizer serves one call at a time.
        self._encoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenizer")
        self._system_messages = SystemMessages(loaded.tokenizer)
        self._steps = StepLoop(
            runner,
            limits,
            loaded.tokenizer.vocabulary,
            loaded.end_tokens,
            max_running=max_running,
            draft_tokens=draft_tokens,
        )

    @property
    def model(self) -> ModelInfo:
        """The model."""
        return self._model

    async def tokenize(self, prompt: Prompt, cache_key: str = "") -> tuple[int, ...]:
        """As `Engine.tokenize`."""
        if isinstance(prompt, ChatPrompt):
            return await self._encoding(self._tokenizer.encode_chat, prompt.messages, cache_key)
        return await self._encoding(self._tokenizer.encode_text, prompt.text)

    async def count(self, prompt: Prompt, cache_key: str = "") -> PromptCount:
        """As `Engine.count`."""
        if isinstance(prompt, ChatPrompt):
            return await self._encoding(self._tokenizer.count_chat, prompt.messages, cache_key)
        (count,) = await self.count_texts([prompt.text], cache_key)
        return PromptCount(count)

    async def count_texts(self, texts: list[str], cache_key: str = "") -> list[int]:
        """As `Engine.count_texts`."""
        return await self._encoding(self._tokenizer.count_texts, texts, cache_key)

    async def system_tokens(self, prompt: ChatPrompt, key: str) -> int:
        """As `Engine.system_tokens`."""
        first = prompt.messages[0]
        return await self._encoding(self._system_messages.count, first, key) if first.role == "system" else 0

    async def _encoding(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._encoder, partial(function, *args, **kwargs))

    async def check_schema(self, schema: str) -> None:
        """As `Engine.check_schema`."""
        await self.grammars.matcher(schema)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Event, None]:
        """As `Engine.generate`."""
        matcher = None if request.json_schema is None else await self.grammars.matcher(request.json_schema)
        sequence = Sequence(request, Mailbox(), self._tokenizer.vocabulary, matcher)
        self._steps.add(sequence)
        try:
            while True:
                event = await sequence.mailbox.get()
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            sequence.aborted = True  # read at the next step; without effect on one that has ended

    def load(self) -> Load:
        """As `Engine.load`."""
        return self._steps.load()

    async def died(self) -> None:
        """As `Engine.died`."""
        await asyncio.shield(asyncio.wrap_future(self._steps.death))

    async def close(self) -> None:
        """As `Engine.close`. Replies under way end with EngineDied."""
        await asyncio.to_thread(self._steps.close)
        self._encoder.shutdown(wait=False)
        self.grammars.close()
