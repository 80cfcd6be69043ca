"""A server that misbehaves: each failure is an error of ours, and no part of a reply is ever taken for all of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chatbot.v1 import chat_message_pb2 as chat
from chatbot.v1 import inference_service_pb2 as pb
from services.inference.engine.remote import engine as remote_engine
from services.rpc import errors
from services.rpc.settings import StartupError
from tests.contract.remote.scripted_server import PAUSE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.contract.remote.scripted_server import ScriptedServer

    Serve = Callable[..., Awaitable[object]]

SAID = "a secret of somebody's"
HELLO = pb.ChatMessages(messages=[chat.ChatMessage(role=chat.ROLE_USER, content=SAID)])
CHAT = "/v1/chat/completions"


def _asked(**sampling: object) -> pb.GenerateRequest:
    return pb.GenerateRequest(messages=HELLO, sampling=pb.SamplingConfig(**sampling))


def _says(text: str, finish_reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}


async def _events(call: AsyncIterator[pb.GenerateResponse]) -> list[pb.GenerateResponse]:
    return [event async for event in call]


def _text(events: list[pb.GenerateResponse]) -> str:
    return "".join(event.delta.text for event in events)


async def _failure(
    stub, request: pb.GenerateRequest | None = None, then: asyncio.Event | None = None
) -> tuple[str, errors.ChatbotError]:
    """Returns the text that came, and the error that it ended with. `then` is set once some text has come."""
    texts = []
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for event in stub.Generate(request or _asked()):
            assert event.WhichOneof("event") != "finished"
            texts.append(event.delta.text)
            if then is not None and texts[-1]:
                then.set()
    error = errors.from_rpc_error(failed.value)
    assert SAID not in error.message
    return "".join(texts), error


async def test_a_server_without_a_tokenizer_is_sent_messages_and_its_usage_is_kept(
    serve: Serve, scripted: ScriptedServer
):
    scripted.streams(_says("Hel"), _says("lo"), _says("", "stop"), USAGE)
    stub = await serve(scripted.address, remote_api_key="sesame")
    events = await _events(stub.Generate(_asked(seed=2**40 + 7, top_k=0)))
    assert _text(events) == "Hello"
    assert events[-1].finished.finish_reason == chat.FINISH_REASON_EOS
    assert events[-1].finished.usage == chat.Usage(prompt_tokens=9, completion_tokens=5)
    path, headers, body = scripted.asked[-1]
    assert (path, headers["authorization"]) == (CHAT, "Bearer sesame")
    assert body["messages"] == [{"role": "user", "content": SAID}]
    assert (body["seed"], body["top_k"], body["model"]) == (7, -1, "tiny")
    assert "stop" not in body


async def test_the_estimate_of_a_prompt_is_what_is_counted_and_started_with(serve: Serve, scripted: ScriptedServer):
    scripted.streams(_says("Hi", "stop"))
    stub = await serve(scripted.address)
    counted = (await stub.CountTokens(pb.CountTokensRequest(messages=HELLO))).total_tokens
    events = await _events(stub.Generate(_asked()))
    assert events[0].started.prompt_tokens == counted
    assert events[0].started.sampling.max_tokens == 100 - counted


async def test_a_stop_string_in_pieces_ends_the_reply_and_the_connection(serve: Serve, scripted: ScriptedServer):
    scripted.streams(_says("One\nUs"), _says("er: two"), done=False, waits=True)
    stub = await serve(scripted.address)
    events = await _events(stub.Generate(_asked(stop=["\nUser:"])))
    assert _text(events) == "One"
    assert events[-1].finished.stop == "\nUser:"
    async with asyncio.timeout(10):
        await scripted.left.wait()


async def test_a_deadline_delivers_what_was_said_and_leaves_the_server(serve: Serve, scripted: ScriptedServer):
    scripted.streams(_says("One"), done=False, waits=True)
    stub = await serve(scripted.address)
    events = await _events(stub.Generate(_asked(), timeout=1.0))
    assert _text(events) == "One"
    assert events[-1].finished.finish_reason == chat.FINISH_REASON_DEADLINE
    async with asyncio.timeout(10):
        await scripted.left.wait()


async def test_a_cancelled_call_leaves_the_server(serve: Serve, scripted: ScriptedServer):
    scripted.streams(_says("One"), done=False, waits=True)
    stub = await serve(scripted.address)
    call = stub.Generate(_asked())
    await call.read()
    assert not scripted.left.is_set()
    call.cancel()
    async with asyncio.timeout(10):
        await scripted.left.wait()


async def test_a_reply_that_the_server_cuts_short_of_max_tokens_has_filled_the_context(
    serve: Serve, scripted: ScriptedServer
):
    scripted.streams(_says("a", "length"), USAGE)
    stub = await serve(scripted.address)
    cut = await _events(stub.Generate(_asked(max_tokens=50)))
    full = await _events(stub.Generate(_asked(max_tokens=5)))
    assert cut[-1].finished.finish_reason == chat.FINISH_REASON_CONTEXT_FULL
    assert full[-1].finished.finish_reason == chat.FINISH_REASON_MAX_TOKENS


@pytest.mark.parametrize(
    "how", [{"breaks_off": True, "done": False}, {"done": False}, {}], ids=["reset", "end", "done without a reason"]
)
async def test_a_reply_that_breaks_off_is_lost_and_never_finished(serve: Serve, scripted: ScriptedServer, how):
    # gRPC drops what a client has not read when an error comes (grpc/grpc#14842), so the text is read before.
    scripted.streams(_says("Half of"), PAUSE, **how)
    stub = await serve(scripted.address)
    text, error = await _failure(stub, then=scripted.go_on)
    assert text == "Half of"
    assert isinstance(error, errors.EngineLost)
    assert error.retry_after
    scripted.streams(_says("Whole", "stop"))
    assert _text(await _events(stub.Generate(_asked()))) == "Whole"


@pytest.mark.parametrize("nonsense", ["{", "[1]", '{"choices": 7}', '{"choices": [{"delta": [], "index": 0}, 0]}x'])
async def test_an_event_that_is_not_what_it_should_be_loses_the_reply(
    serve: Serve, scripted: ScriptedServer, nonsense: str
):
    scripted.streams(_says("Half of"), nonsense, _says("", "stop"))
    _, error = await _failure(await serve(scripted.address))
    assert isinstance(error, errors.EngineLost)


async def test_a_reply_that_is_complete_but_for_its_goodbye_is_complete(serve: Serve, scripted: ScriptedServer):
    scripted.streams(_says("Whole", "stop"), done=False, breaks_off=True)
    events = await _events((await serve(scripted.address)).Generate(_asked()))
    assert _text(events) == "Whole"
    assert events[-1].finished.finish_reason == chat.FINISH_REASON_EOS


async def test_a_server_that_counts_wrongly_does_not_mix_up_the_events(serve: Serve, scripted: ScriptedServer):
    none = {"usage": {"prompt_tokens": 9, "completion_tokens": 0}}
    scripted.streams({**_says("a"), **none}, {**_says("b"), **none}, _says("", "stop"))
    events = await _events((await serve(scripted.address)).Generate(_asked()))
    assert [e.WhichOneof("event") for e in events] == ["started", "delta", "delta", "finished"]


async def test_an_error_in_the_stream_is_that_error(serve: Serve, scripted: ScriptedServer):
    scripted.streams(_says("Half of"), PAUSE, {"error": {"message": SAID, "code": 500}})
    text, error = await _failure(await serve(scripted.address), then=scripted.go_on)
    assert text == "Half of"
    assert isinstance(error, errors.EngineLost)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, f"This model's maximum context length is 100 tokens: {SAID}", errors.ContextTooLong),
        (400, f"what is {SAID}?", errors.InvalidArgument),
        (401, "", errors.Unavailable),
        (403, "", errors.Unavailable),
        (404, "", errors.Unavailable),
        (429, "", errors.Overloaded),
        (503, "", errors.Overloaded),
        (500, SAID, errors.EngineLost),
        (502, "<html>", errors.EngineLost),
    ],
)
async def test_each_status_is_an_error_of_ours(serve: Serve, scripted: ScriptedServer, status, message, kind):
    scripted.says(CHAT, f'{{"error": {{"message": "{message}", "code": {status}}}}}', status)
    _, error = await _failure(await serve(scripted.address))
    assert type(error) is kind


async def test_a_server_that_is_busy_says_when_to_come_back(serve: Serve, scripted: ScriptedServer):
    stub = await serve(scripted.address)
    scripted.says(CHAT, "busy", 429, retry_after="17")
    assert (await _failure(stub))[1].retry_after == 17
    scripted.says(CHAT, "busy", 503, retry_after="Fri, 01 Jan 2100 00:00:00 GMT")
    assert (await _failure(stub))[1].retry_after == 60
    scripted.says(CHAT, "busy", 503, retry_after="soon")
    assert (await _failure(stub))[1].retry_after == 5


async def test_a_server_that_has_gone_is_named_and_calls_work_again_once_it_is_back(
    serve: Serve, scripted: ScriptedServer
):
    scripted.streams(_says("Hi", "stop"))
    stub = await serve(scripted.address)
    await scripted.stop()
    _, error = await _failure(stub)
    assert type(error) is errors.Unavailable
    assert scripted.address in error.message
    await scripted.start(scripted.port)
    assert _text(await _events(stub.Generate(_asked()))) == "Hi"


async def test_health_follows_the_server(serve: Serve, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote_engine, "CHECK_SECONDS", 0.01)
    stub = await serve(scripted.address)
    watch = health_pb2_grpc.HealthStub(stub.channel).Watch(health_pb2.HealthCheckRequest())
    async with asyncio.timeout(10):
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await scripted.stop()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await scripted.start(scripted.port)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


async def test_token_ids_need_the_servers_tokenizer(serve: Serve, scripted: ScriptedServer):
    stub = await serve(scripted.address)
    _, error = await _failure(stub, pb.GenerateRequest(token_ids=pb.TokenIds(ids=[1])))
    assert error.violations[0].field == "token_ids"


async def test_messages_that_the_template_cannot_take_are_the_callers_fault(serve: Serve, scripted: ScriptedServer):
    scripted.says("/tokenize", '{"tokens": [1, 2, 3]}')
    stub = await serve(scripted.address)
    assert (await stub.CountTokens(pb.CountTokensRequest(messages=HELLO))).total_tokens == 3
    scripted.says("/tokenize", f'{{"error": {{"message": "{SAID}", "code": 400}}}}', 400)
    _, error = await _failure(stub)
    assert error.violations[0].field == "messages"
    scripted.says("/tokenize", "{}", 503)
    assert isinstance((await _failure(stub))[1], errors.Overloaded)


async def test_start_waits_until_the_server_is_there(serve: Serve, scripted: ScriptedServer):
    scripted.streams(_says("Hi", "stop"))
    await scripted.stop()
    starting = asyncio.create_task(serve(scripted.address, remote_connect_seconds=1))
    done, _ = await asyncio.wait({starting}, timeout=0.2)
    assert not done
    await scripted.start(scripted.port)
    async with asyncio.timeout(20):
        stub = await starting
    assert _text(await _events(stub.Generate(_asked()))) == "Hi"


@pytest.mark.parametrize(
    ("answer", "settings", "says"),
    [
        (("{}", 401), {}, "CHATBOT_REMOTE_API_KEY"),
        (("{}", 404), {}, "is not OpenAI-compatible"),
        (('{"data": [{"id": "a"}, {"id": "b"}]}', 200), {}, "set CHATBOT_REMOTE_MODEL to one: a, b"),
        (('{"data": [{"id": "a"}]}', 200), {"remote_model": "c"}, "CHATBOT_REMOTE_MODEL=c.*does not have it, but: a"),
        (('{"data": [{"id": "a"}]}', 200), {}, "set CHATBOT_CONTEXT_TOKENS"),
        (('{"models": []}', 200), {}, "is no list of models"),
        (("<html>", 200), {}, "is no list of models"),
        (('{"data": []}', 200), {}, "has no model"),
    ],
)
async def test_start_refuses_what_cannot_work(serve: Serve, scripted: ScriptedServer, answer, settings, says):
    scripted.says("/v1/models", *answer)
    with pytest.raises(StartupError, match=says):
        await serve(scripted.address, **settings)


async def test_a_server_that_answers_anything_with_a_page_lends_no_tokenizer(serve: Serve, scripted: ScriptedServer):
    scripted.streams(_says("Hi", "stop"))
    scripted.says("/tokenize", "<html>")
    assert _text(await _events((await serve(scripted.address)).Generate(_asked()))) == "Hi"


async def test_one_of_several_models_and_a_shorter_context_can_be_chosen(serve: Serve, scripted: ScriptedServer):
    scripted.models("a", "org/b")
    model = (
        await (await serve(scripted.address, remote_model="org/b", context_tokens=64)).GetModel(pb.GetModelRequest())
    ).model
    assert (model.id, model.context_tokens, model.device) == ("org/b", 64, "remote")


async def test_nothing_that_was_said_and_no_key_is_logged(
    serve: Serve, scripted: ScriptedServer, capfd: pytest.CaptureFixture[str]
):
    stub = await serve(scripted.address, remote_api_key="sesame")
    for status in (400, 401, 429, 500):
        scripted.says(CHAT, f'{{"error": {{"message": "{SAID}"}}}}', status)
        await _failure(stub)
    scripted.streams(_says(SAID), "{")
    await _failure(stub, pb.GenerateRequest(messages=HELLO))
    said = "".join(capfd.readouterr())
    assert "request lost" in said
    assert SAID not in said
    assert "sesame" not in said
