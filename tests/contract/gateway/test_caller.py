"""What the inference service is told of who asks: enough to take turns, not who it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatbot.v1 import chat_service_pb2 as chat_pb

if TYPE_CHECKING:
    from tests.contract.gateway.house import House


async def test_all_conversations_of_a_user_are_one_caller_whose_name_does_not_tell_who_it_is(house: House):
    for user in ("анна", "анна", "bob"):
        request = chat_pb.ChatRequest(text="Hi")
        async for _ in house.chat.Chat(request, metadata=(("x-user-id-bin", user.encode()),)):
            pass
    first, second, other = [request.caller for request in house.engine.requests]
    assert first == second
    assert first != other
    assert "bob" not in other
    assert len({request.cache_key for request in house.engine.requests}) == 3
