"""What a turn holds is let go before its end is told: whoever reads `finished` may speak again at once."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest

from chatbot.v1 import chat_service_pb2 as chat_pb
from tests.contract.gateway.house import USER, House

ROUNDS = 8
TALKERS = 3


@pytest.fixture
def gateway_settings() -> dict[str, object]:
    """Each user may have one reply at once: a place that is held a moment too long is seen at once."""
    return {"max_streams_per_user": 1}


async def read_until_finished(call: grpc.aio.UnaryStreamCall) -> str:
    """Reads a turn up to its end, leaves the call open, and returns the turn's conversation."""
    conversation = ""
    while not (event := await call.read()).HasField("finished"):
        conversation = event.started.conversation or conversation
    return conversation


async def test_a_client_that_has_read_the_end_may_speak_at_once(house: House):
    async def talk(user: str) -> None:
        metadata = (("x-user-id-bin", user.encode()),)
        conversation = ""
        open_calls = []
        for turn in range(ROUNDS):
            said = chat_pb.ChatRequest(text=f"{turn}", conversation=conversation, request_id=str(uuid.uuid4()))
            anew = chat_pb.RegenerateRequest(request_id=str(uuid.uuid4()))
            open_calls.append(house.chat.Chat(said, metadata=metadata))
            conversation = anew.conversation = await read_until_finished(open_calls[-1])
            # Another reply, then both again, which replays them.
            for repeat, request in (
                (house.chat.Regenerate, anew),
                (house.chat.Regenerate, anew),
                (house.chat.Chat, said),
            ):
                open_calls.append(repeat(request, metadata=metadata))
                await read_until_finished(open_calls[-1])
        for call in open_calls:
            call.cancel()

    await asyncio.gather(*(talk(f"user {number}") for number in range(TALKERS)))


async def test_two_clients_that_take_turns_never_find_the_conversation_busy(house: House):
    first = house.chat.Chat(chat_pb.ChatRequest(text="Hi"), metadata=USER)
    open_calls = [first]
    conversation = await read_until_finished(first)
    for turn in range(4 * ROUNDS):
        said = chat_pb.ChatRequest(text=f"{turn}", conversation=conversation)
        open_calls.append(house.chat.Chat(said, metadata=USER))
        await read_until_finished(open_calls[-1])
    assert len(await house.history(conversation)) == 2 * (4 * ROUNDS + 1)
