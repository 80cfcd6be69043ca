"""How long a conversation's turns wait for their first token; the services are as `python run.py serve` starts them."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from grpc.aio import AioRpcError

from bench import machine
from bench.engine.server_process import ServerProcess, free_port
from bench.result import Observation
from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import inference_service_pb2
from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from services.rpc.channel import open_channel
from services.rpc.settings import variable_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from chatbot.v1.chat_service_pb2_grpc import ChatServiceAsyncStub

TURNS = 24
CONVERSATIONS = 5
LONGEST_REPLY = 48
"""Tokens."""
OURS = "python run.py serve"
WHOLE, PREFILL, BESIDE = "first_token", "prefill", "beside_prefill"

_START_SECONDS = 300.0
_TURN_SECONDS = 120.0
_PAUSE_SECONDS = 0.3
"""Between turns, in which what was said is embedded."""


async def measure(
    folder: Path, settings: dict[str, str], said: Sequence[str], conversations: int, tell: Callable[[str], None]
) -> list[tuple[str, Observation]]:
    """Has conversations, each of another user and after one that warms up, and tells when each reply began.

    Args:
        folder: For the database and the converted model.
        settings: Variables that the services run with.
        said: What each user says, a turn each.
        conversations: How many.
        tell: Told about progress.
    """
    seen: list[tuple[str, Observation]] = []
    async with _served(folder, settings) as chat:
        await _talk(chat, said[:3])
        for number in range(conversations):
            for turn, (whole, prefill) in enumerate(await _talk(chat, said), start=1):
                for metric, seconds in ((WHOLE, whole), (PREFILL, prefill), (BESIDE, whole - prefill)):
                    seen.append((OURS, Observation(f"turn {turn}", metric, "ms", 1000 * seconds)))
            tell(f"conversation {number + 1} of {conversations}")
    return seen


@asynccontextmanager
async def _served(folder: Path, settings: dict[str, str]) -> AsyncIterator[ChatServiceAsyncStub]:
    port = free_port()
    others = ("gateway_http", "memory_grpc", "inference_grpc")
    environment = {
        **settings,
        **{variable_name(f"{name}_port"): str(free_port()) for name in others},
        variable_name("gateway_grpc_port"): str(port),
        variable_name("data_dir"): str(folder),
        variable_name("log_level"): "warning",
    }
    command = [sys.executable, str(machine.CHECKOUT / "run.py"), "serve"]
    process = ServerProcess(command, folder / "serve.log", environment)
    await process.start()
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            chat = ChatServiceStub(channel)

            async def ready() -> bool:
                try:
                    await chat.GetContext(chat_pb.GetContextRequest(text="Hi"))
                except AioRpcError:
                    return False
                return True

            await process.wait_until(ready, _START_SECONDS)
            yield chat
    finally:
        await process.stop()


async def _talk(chat: ChatServiceAsyncStub, said: Sequence[str]) -> list[tuple[float, float]]:
    """Returns of each turn the seconds to the first token, and those that the model took for it."""
    metadata = (("x-user-id-bin", str(uuid.uuid4()).encode()),)
    sampling = inference_service_pb2.SamplingConfig(temperature=0, max_tokens=LONGEST_REPLY)
    conversation = ""
    turns: list[tuple[float, float]] = []
    for text in said:
        request = chat_pb.ChatRequest(conversation=conversation, text=text, sampling=sampling)
        began = time.perf_counter()
        first = prefill = 0.0
        async for event in chat.Chat(request, metadata=metadata, timeout=_TURN_SECONDS):
            if event.HasField("started"):
                conversation = event.started.conversation
            elif event.HasField("delta"):
                first = first or time.perf_counter() - began
            else:
                prefill = event.finished.timings.prefill_time.ToTimedelta().total_seconds()
        turns.append((first, prefill))
        await asyncio.sleep(_PAUSE_SECONDS)
    return turns
