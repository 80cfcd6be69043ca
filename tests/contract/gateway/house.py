"""What the gateway's contract tests reach the running services with."""

from __future__ import annotations

from dataclasses import dataclass

from chatbot.v1 import chat_message_pb2 as message_pb
from chatbot.v1 import chat_service_pb2 as chat_pb
from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from chatbot.v1.memory_service_pb2_grpc import MemoryServiceStub
from services.inference.engine.fake import FakeEngine
from services.rpc.server import Server

USER = (("x-user-id-bin", "анна".encode()),)


@dataclass
class House:
    """The running services and the stubs that tests use."""

    engine: FakeEngine
    servers: dict[str, Server]
    chat: ChatServiceStub
    memory: MemoryServiceStub
    http_address: str

    async def say(self, text: str, conversation: str = "", **fields: object) -> list[chat_pb.ChatResponse]:
        request = chat_pb.ChatRequest(conversation=conversation, text=text, **fields)
        return [event async for event in self.chat.Chat(request, metadata=USER)]

    async def history(self, conversation: str) -> list[message_pb.ChatMessage]:
        request = chat_pb.ChatServiceListMessagesRequest(conversation=conversation, page_size=1000)
        return list((await self.chat.ListMessages(request, metadata=USER)).messages)

    async def context(self, text: str, conversation: str = "", **fields: object) -> chat_pb.GetContextResponse:
        request = chat_pb.GetContextRequest(conversation=conversation, text=text, **fields)
        return await self.chat.GetContext(request, metadata=USER)

    def prompt(self, number: int = -1) -> str:
        """Returns the text of a prompt that the engine got, the last one by default."""
        return self.engine.text_of(self.engine.requests[number].prompt)
