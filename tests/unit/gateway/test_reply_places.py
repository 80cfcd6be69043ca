"""A user's place among the replies at once is free when a reply's end is told, by either door."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from types import SimpleNamespace

import pytest

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1 import inference_service_pb2 as inference_pb
from services.gateway.chat_calls import ChatCalls
from services.gateway.http import Metrics
from services.gateway.identity import Caller
from services.gateway.openai_api.generation import Generation
from services.gateway.openai_api.reply import Ended
from services.gateway.settings import GatewaySettings
from services.gateway.user_limits import UserLimits
from services.rpc.errors import LimitReached

ANNA = Caller("anna", lambda: None)
Reply = Callable[[], AsyncGenerator[object, None]]


async def turn(*_: object) -> AsyncGenerator[object, None]:
    yield chat_pb.ReplyStarted()
    yield chat_pb.ReplyFinished()


async def generated(*_: object) -> AsyncGenerator[object, None]:
    yield inference_pb.GenerateResponse(started=inference_pb.GenerateResponse.Started())
    finished = inference_pb.GenerateResponse.Finished(finish_reason=message_pb.FINISH_REASON_EOS)
    yield inference_pb.GenerateResponse(finished=finished)


def by_turns(limits: UserLimits, call: str) -> Reply:
    turns = SimpleNamespace(chat=turn, regenerate=turn)
    calls = ChatCalls(SimpleNamespace(memory=None, inference=None), turns, limits)
    request = chat_pb.ChatRequest(text="Hi") if call == "chat" else chat_pb.RegenerateRequest()
    return lambda: getattr(calls, call)(request, ANNA)


def by_openai(limits: UserLimits, _: str) -> Reply:
    generation = Generation(SimpleNamespace(generate=generated), Metrics(), limits)
    return lambda: generation.complete("Hi", ANNA, inference_pb.SamplingConfig(), None)


@pytest.mark.parametrize(("door", "call"), [(by_turns, "chat"), (by_turns, "regenerate"), (by_openai, "")])
async def test_whoever_has_read_the_end_of_a_reply_may_have_another(door: Callable[..., Reply], call: str):
    reply = door(UserLimits(GatewaySettings(max_streams_per_user=1)), call)
    first = reply()
    await anext(first)
    with pytest.raises(LimitReached):
        await anext(reply())
    end = await anext(first)
    assert isinstance(end, Ended) or end.HasField("finished")
    # Nobody has closed the first one.
    second = reply()
    await anext(second)
    await second.aclose()
    await first.aclose()
