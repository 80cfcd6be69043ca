"""What clients are told in numbers is what the service means by them."""

from __future__ import annotations

import pytest

from chatbot.v1 import chat_message_pb2, memory_service_pb2
from services.memory.conversation import TitleSource
from services.memory.message import FinishReason, Role


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (Role, chat_message_pb2.Role, "ROLE_"),
        (FinishReason, chat_message_pb2.FinishReason, "FINISH_REASON_"),
        (TitleSource, memory_service_pb2.TitleSource, "TITLE_SOURCE_"),
    ],
)
def test_enumerations_have_the_numbers_of_the_protocol(ours, theirs, prefix):
    told = {prefix + member.name: member.value for member in ours}
    assert told == {name: number for name, number in theirs.items() if name != "ROLE_UNSPECIFIED"}
