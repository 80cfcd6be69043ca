"""A server of the rpc wall with a scripted servicer behind it, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from chatbot.v1 import inference_service_pb2 as pb
from chatbot.v1.inference_service_pb2_grpc import (
    InferenceServiceServicer,
    InferenceServiceStub,
    add_InferenceServiceServicer_to_server,
)
from services.rpc import errors
from services.rpc.channel import open_channel
from services.rpc.deadlines import time_left
from services.rpc.server import Server
from services.rpc.settings import CommonSettings


class Scripted(InferenceServiceServicer):
    """Each call shows one thing that a handler may do."""

    def __init__(self) -> None:
        self.cleaned_up = asyncio.Event()
        self.release = asyncio.Event()
        self.attempts = 0

    async def GetModel(self, request, context):
        raise errors.ContextTooLong.of(9, 8)

    async def GetLoad(self, request, context):
        raise ValueError("somebody's secret")

    async def CountTokens(self, request, context):
        if request.text == "flaky":
            self.attempts += 1
            if self.attempts < 3:
                raise errors.ModelLoading("The model is loading.", retry_after=0.1)
        left = time_left(context)
        return pb.CountTokensResponse(total_tokens=-1 if left is None else round(left * 1000))

    async def Generate(self, request, context):
        try:
            yield delta("first")
            await self.release.wait()
            yield delta("second")
        finally:
            self.cleaned_up.set()


class ScriptedService:
    full_names = ("chatbot.v1.InferenceService",)
    port_variable = "CHATBOT_INFERENCE_GRPC_PORT"

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.servicer = Scripted()
        self.ready = asyncio.Event()
        self.stopped = False

    def register(self, server: grpc.aio.Server) -> None:
        add_InferenceServiceServicer_to_server(self.servicer, server)

    async def start(self) -> None:
        await self.ready.wait()

    async def stop(self) -> None:
        self.stopped = True


def delta(text: str) -> pb.GenerateResponse:
    return pb.GenerateResponse(delta=pb.GenerateResponse.Delta(text=text))


class Running:
    """A server, what is behind it, and a channel to it."""

    def __init__(self, service: ScriptedService, server: Server, channel: grpc.aio.Channel) -> None:
        self.service = service
        self.server = server
        self.channel = channel
        self.stub = InferenceServiceStub(channel)


@pytest.fixture
def settings(tmp_path: Path) -> CommonSettings:
    return CommonSettings(data_dir=tmp_path)


@pytest.fixture
async def running(settings: CommonSettings) -> AsyncIterator[Running]:
    service = ScriptedService()
    server = Server(service, settings)
    await server.bind()
    async with open_channel(f"127.0.0.1:{server.port}") as channel:
        yield Running(service, server, channel)
        await server.stop(0)
