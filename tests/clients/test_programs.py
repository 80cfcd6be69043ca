"""Every client program does what its page says, against the real services and the real model.

Outside the default suite: `make test-clients`, after tests/clients/install_toolchains.sh.
"""

from __future__ import annotations

import re
import uuid

import pytest

from chatbot.v1.chat_message_pb2 import FINISH_REASON_CANCELLED, FINISH_REASON_EOS, ChatMessage
from chatbot.v1.chat_service_pb2 import ChatRequest, ChatServiceListMessagesRequest
from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from tests.clients.dropping_line import DroppingLine
from tests.clients.forwarding_gateway import ForwardingGateway
from tests.clients.programs import CLIENTS, Program
from tests.e2e.stack import Stack

pytestmark = pytest.mark.clients

CHAT = "/chatbot.v1.ChatService/Chat"
BUSY = re.escape(
    "! ABORTED CONVERSATION_BUSY: Another reply of this conversation is being generated; try again when it has ended.\n"
    "!   worth repeating in 1 s\n"
)
PRINTED = re.compile(
    r"> What is the capital of France\?\n(?P<answer>.+)\n\[FINISH_REASON_EOS, \d+ tokens\]\n"
    r"> What is the capital of France\?\n(?P=answer)\n\[FINISH_REASON_EOS, \d+ tokens, replayed\]\n"
    rf"> Tell me a long story about the sea\.\n(?P<begun>.+)\n{BUSY}(?P<more>.+)\n! CANCELLED\n"
    rf"(?:> Tell me a long story about the sea\.\n{BUSY})*"
    r"> Tell me a long story about the sea\.\n(?P<kept>.+)\n\[FINISH_REASON_CANCELLED, \d+ tokens, replayed\]\n"
    r"! INVALID_ARGUMENT INVALID_ARGUMENT: text must not be empty or all white space\.\n"
    r"!   text: must not be empty or all white space\n"
    r"! NOT_FOUND CONVERSATION_NOT_FOUND: There is no such conversation\.\n"
    r"(?P<conversation>conversations/\w+):\n"
    r"- ROLE_USER, 30 characters\n- ROLE_ASSISTANT FINISH_REASON_EOS, (?P<answer_length>\d+) characters\n"
    r"- ROLE_USER, 35 characters\n- ROLE_ASSISTANT FINISH_REASON_CANCELLED, (?P<kept_length>\d+) characters\n",
    re.DOTALL,
)


async def history(chat: ChatServiceStub, conversation: str) -> list[ChatMessage]:
    page = await chat.ListMessages(ChatServiceListMessagesRequest(conversation=conversation))
    return list(page.messages)


async def test_a_program_chats_streams_cancels_and_reads_errors(
    program: Program, chat: ChatServiceStub, gateway: ForwardingGateway, address: str
):
    printed = PRINTED.fullmatch(out := await program.run(address, "a-key"))
    assert printed is not None, out
    assert "Paris" in printed["answer"]
    # The reply came in pieces: a part was printed before the conversation was found busy, a part after.
    assert printed["kept"].startswith(printed["begun"] + printed["more"])

    said = [(m.content, m.finish_reason) for m in await history(chat, printed["conversation"])]
    assert said == [
        ("What is the capital of France?", 0),
        (printed["answer"], FINISH_REASON_EOS),
        ("Tell me a long story about the sea.", 0),
        (printed["kept"], FINISH_REASON_CANCELLED),
    ]
    assert (len(printed["answer"]), len(printed["kept"])) == (
        int(printed["answer_length"]),
        int(printed["kept_length"]),
    )

    assert {call.metadata["authorization"] for call in gateway.calls} == {"Bearer a-key"}
    # A minute, rounded up on the wire to as much as a second more.
    assert all(call.seconds_left is not None and 0 < call.seconds_left < 61 for call in gateway.calls)
    ids = [uuid.UUID(ChatRequest.FromString(call.request).request_id) for call in gateway.calls if call.method == CHAT]
    assert ids[0] == ids[1] != ids[2]


async def test_a_lost_answer_is_asked_for_again_and_nothing_is_said_twice(
    program: Program, chat: ChatServiceStub, gateway: ForwardingGateway, address: str
):
    gateway.answers_to_lose = 1
    out = await program.run(address, "")
    lost, rest = out.split("! UNAVAILABLE\n")
    assert lost == "> What is the capital of France?\n"
    printed = PRINTED.fullmatch(rest.replace(", replayed", "", 1))
    assert printed is not None, out
    assert rest.splitlines()[2].endswith(", replayed]")

    said = [message.content for message in await history(chat, printed["conversation"])]
    assert said.count("What is the capital of France?") == 1
    assert gateway.calls[0].request == gateway.calls[1].request
    assert all("authorization" not in call.metadata for call in gateway.calls)


async def test_a_call_whose_connection_breaks_is_made_again_and_nothing_is_said_twice(
    program: Program, chat: ChatServiceStub, stack: Stack
):
    # The name of the conversation comes with `started`, so the turn is under way when the line is cut.
    async with DroppingLine("127.0.0.1", stack.ports["gateway"], cut_at=b"conversations/") as line:
        out = await program.run(line.address, "")
    assert line.has_cut
    lost, rest = out.split("! UNAVAILABLE\n")
    assert lost == "> What is the capital of France?\n"
    # What was said by then is replayed; where that was nothing, the reply is generated now.
    replies = re.findall(r"\n(.*)\n\[(FINISH_REASON_\w+), \d+ tokens", rest)
    assert [reason for _, reason in replies[1:]] == [replies[0][1], "FINISH_REASON_CANCELLED"]
    assert replies[0] == replies[1]

    conversation = re.findall(r"(?m)^(conversations/\w+):$", rest)[0]
    said = [message.content for message in await history(chat, conversation)]
    assert said[:3] == ["What is the capital of France?", replies[0][0], "Tell me a long story about the sea."]


def test_the_pages_show_what_is_printed():
    assert PRINTED.fullmatch((CLIENTS / "output.txt").read_text(encoding="utf-8"))
