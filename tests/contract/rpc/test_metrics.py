"""What a service's server counts, and the port that shows it."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from typing import TYPE_CHECKING

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from chatbot.v1 import inference_service_pb2 as pb
from services.rpc import metrics
from services.rpc.server import Server
from services.rpc.settings import CommonSettings, StartupError

if TYPE_CHECKING:
    from .conftest import Running

SERVICE = "chatbot.v1.InferenceService"


class MeasuredService:
    full_names = (SERVICE,)
    port_variable = "CHATBOT_INFERENCE_GRPC_PORT"
    metrics_port_variable = "CHATBOT_INFERENCE_METRICS_PORT"
    port = 0

    def __init__(self, metrics_port: int) -> None:
        self.metrics_port = metrics_port

    def register(self, server: grpc.aio.Server) -> None:
        """Has no calls."""

    async def start(self) -> None:
        """Is ready at once."""

    async def stop(self) -> None:
        """Has nothing to give back."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def counted(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, {"service": SERVICE} | labels) or 0.0


async def fetch(port: int) -> tuple[str, str]:
    def get() -> tuple[str, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    return await asyncio.to_thread(get)


async def test_a_call_is_counted_by_method_and_outcome(running: Running):
    ok = counted("chatbot_calls_total", method="CountTokens", outcome="OK")
    timed = counted("chatbot_call_seconds_count", method="CountTokens")
    await running.stub.CountTokens(pb.CountTokensRequest(text="a"))
    assert counted("chatbot_calls_total", method="CountTokens", outcome="OK") == ok + 1
    assert counted("chatbot_call_seconds_count", method="CountTokens") == timed + 1


@pytest.mark.parametrize(("method", "outcome"), [("GetModel", "CONTEXT_LENGTH_EXCEEDED"), ("GetLoad", "INTERNAL")])
async def test_a_call_that_fails_is_counted_by_its_reason(running: Running, method: str, outcome: str):
    before = counted("chatbot_calls_total", method=method, outcome=outcome)
    request = {"GetModel": pb.GetModelRequest(), "GetLoad": pb.GetLoadRequest()}[method]
    with pytest.raises(grpc.aio.AioRpcError):
        await getattr(running.stub, method)(request)
    async with asyncio.timeout(30):
        while counted("chatbot_calls_total", method=method, outcome=outcome) == before:
            await asyncio.sleep(0)  # a failure is told before it is counted
    assert counted("chatbot_calls_total", method=method, outcome=outcome) == before + 1


async def test_a_stream_is_under_way_until_it_ends(running: Running):
    before = counted("chatbot_calls_under_way", method="Generate")
    call = running.stub.Generate(pb.GenerateRequest())
    await call.read()
    assert counted("chatbot_calls_under_way", method="Generate") == before + 1
    running.service.servicer.release.set()
    assert (await call.read()).delta.text == "second"
    assert await call.read() is grpc.aio.EOF
    assert counted("chatbot_calls_under_way", method="Generate") == before


async def test_a_method_that_does_not_exist_makes_no_row(running: Running):
    with pytest.raises(grpc.aio.AioRpcError):
        await running.channel.unary_unary("/chatbot.v1.InferenceService/Invented")(b"")
    assert b"Invented" not in metrics.render()


async def test_the_metrics_port_shows_what_is_counted_and_closes_with_the_server(settings: CommonSettings):
    port = free_port()
    server = Server(MeasuredService(port), settings)
    await server.bind()
    try:
        kind, text = await fetch(port)
    finally:
        await server.stop(0)
    assert kind == metrics.CONTENT_TYPE
    families = {family.name for family in text_string_to_metric_families(text)}
    assert {"chatbot_calls", "chatbot_call_seconds", "chatbot_calls_under_way"} <= families
    with pytest.raises(OSError, match="refused"):
        await fetch(port)


async def test_a_service_whose_metrics_port_is_zero_listens_on_no_other_port(settings: CommonSettings, monkeypatch):
    monkeypatch.setattr("services.rpc.server.MetricsExporter", None)
    server = Server(MeasuredService(0), settings)
    await server.bind()
    await server.stop(0)


async def test_a_taken_metrics_port_is_told_in_one_sentence(settings: CommonSettings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(MeasuredService(port), settings)
        with pytest.raises(StartupError, match=rf":{port} cannot .* set CHATBOT_INFERENCE_METRICS_PORT to a free one"):
            await server.bind()
        await server.stop(0)
