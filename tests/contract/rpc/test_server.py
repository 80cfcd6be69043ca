"""What every service's server does, whatever is behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2

from chatbot.v1 import inference_service_pb2 as pb
from services.rpc import errors
from services.rpc.log import configure_logging, where
from services.rpc.server import Server
from services.rpc.settings import CommonSettings, StartupError

from .conftest import ScriptedService

if TYPE_CHECKING:
    from .conftest import Running

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(running: Running, service: str) -> int:
    return (await HealthStub(running.channel).Check(health_pb2.HealthCheckRequest(service=service))).status


@pytest.mark.parametrize("name", ["", "chatbot.v1.InferenceService"])
async def test_health_is_not_serving_until_the_service_is_ready(running: Running, name: str):
    assert await health(running, name) == NOT_SERVING
    running.service.ready.set()
    await running.server.start()
    assert await health(running, name) == SERVING


async def reflect(running: Running, version: str, **asked: str) -> reflection_pb2.ServerReflectionResponse:
    call = running.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (answer,) = [answer async for answer in call(iter([reflection_pb2.ServerReflectionRequest(**asked)]))]
    return answer


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_the_services_and_describes_each(running: Running, version: str):
    listed = await reflect(running, version, list_services="")
    names = {service.name for service in listed.list_services_response.service}
    assert names == {
        "chatbot.v1.InferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    for name in names:
        described = await reflect(running, version, file_containing_symbol=name)
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(file)
            for file in described.file_descriptor_response.file_descriptor_proto
        ]
        pool = descriptor_pool.DescriptorPool()
        for file in reversed(files):
            pool.Add(file)
        assert pool.FindServiceByName(name).methods


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_finds_a_method_by_its_name(running: Running, version: str):
    method = "chatbot.v1.InferenceService.Generate"
    described = await reflect(running, version, file_containing_symbol=method)
    file = descriptor_pb2.FileDescriptorProto.FromString(described.file_descriptor_response.file_descriptor_proto[0])
    assert file.name == "chatbot/v1/inference_service.proto"
    assert described.original_request.file_containing_symbol == method


async def test_reflection_says_that_it_does_not_know_a_symbol(running: Running):
    described = await reflect(running, "v1", file_containing_symbol="chatbot.v1.InferenceService.Nothing")
    assert described.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_a_domain_error_arrives_with_its_reason_and_metadata(running: Running):
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await running.stub.GetModel(pb.GetModelRequest())
    error = errors.from_rpc_error(failed.value)
    assert isinstance(error, errors.ContextTooLong)
    assert error.metadata == {"n_prompt": "9", "n_context": "8"}


async def test_an_unexpected_exception_tells_neither_caller_nor_log_its_words(
    running: Running, capfd: pytest.CaptureFixture[str]
):
    configure_logging("test", "info", "text")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await running.stub.GetLoad(pb.GetLoadRequest())
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(failed.value)
    log = capfd.readouterr().err
    assert "ValueError" in log
    assert "GetLoad" in log
    assert "secret" not in log


async def test_bytes_that_are_no_message_are_an_invalid_argument(running: Running):
    call = running.channel.unary_unary("/chatbot.v1.InferenceService/CountTokens")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(b"\x12\x02\xff\xfe")  # a text that is not UTF-8
    assert isinstance(errors.from_rpc_error(failed.value), errors.InvalidArgument)
    answer = await running.stub.CountTokens(pb.CountTokensRequest(text="still here"))
    assert answer.total_tokens == -1


async def test_a_caller_that_goes_away_ends_the_handler(running: Running):
    call = running.stub.Generate(pb.GenerateRequest())
    await anext(aiter(call))
    call.cancel()
    await asyncio.wait_for(running.service.servicer.cleaned_up.wait(), 10)


async def test_a_deadline_that_passes_ends_the_handler(running: Running):
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for _ in running.stub.Generate(pb.GenerateRequest(), timeout=0.3):
            pass
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(running.service.servicer.cleaned_up.wait(), 10)


async def test_a_stream_under_way_is_finished_before_the_server_stops(running: Running):
    running.service.ready.set()
    await running.server.start()
    watching = HealthStub(running.channel).Watch(health_pb2.HealthCheckRequest())
    responses = aiter(running.stub.Generate(pb.GenerateRequest()))
    await anext(responses)
    stopping = asyncio.create_task(running.server.stop(30))
    async for answer in watching:
        if answer.status == NOT_SERVING:
            break
    running.service.servicer.release.set()
    assert (await anext(responses)).delta.text == "second"
    await stopping
    assert running.service.stopped


async def test_a_stream_that_outlasts_the_grace_is_told_so(running: Running):
    call = running.stub.Generate(pb.GenerateRequest())
    responses = aiter(call)
    await anext(responses)
    stopping = asyncio.create_task(running.server.stop(0.3))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await anext(responses)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    await stopping


async def test_servers_that_nobody_calls_stop_at_once_and_in_order(settings: CommonSettings):
    # On Python 3.13 one in some hundreds took the process with it.
    for _ in range(200):
        service = ScriptedService()
        service.ready.set()
        server = Server(service, settings)
        await server.bind()
        await server.start()
        await server.stop(0)
        assert service.stopped


async def test_a_call_that_is_unavailable_is_tried_again_before_its_first_message(running: Running):
    await running.stub.CountTokens(pb.CountTokensRequest(text="flaky"))
    assert running.service.servicer.attempts == 3


async def test_a_deadline_is_passed_on_less_a_margin(running: Running):
    answer = await running.stub.CountTokens(pb.CountTokensRequest(text="x"), timeout=30)
    assert 20_000 < answer.total_tokens < 30_000


async def test_a_taken_port_is_refused_with_the_variable_that_changes_it(running: Running, settings: CommonSettings):
    second = Server(type(running.service)(port=running.server.port), settings)
    with pytest.raises(StartupError, match=r"port is taken.*CHATBOT_INFERENCE_GRPC_PORT"):
        await second.bind()
    await second.stop(0)


def test_an_exception_is_logged_with_its_places_and_causes_but_not_its_words():
    try:
        try:
            int("secret")
        except ValueError as cause:
            raise RuntimeError("secret too") from cause
    except RuntimeError as failure:
        text = where(failure)
    assert "RuntimeError" in text
    assert "ValueError" in text
    assert "test_server.py" in text
    assert "secret" not in text
