"""Chats, streams, repeats a lost call, cancels and reads errors, over nothing but grpcio and the generated code."""

from __future__ import annotations

import os
import sys
import time
import uuid
from typing import TYPE_CHECKING, cast

import grpc
from google.rpc import error_details_pb2, status_pb2

from chatbot.v1.chat_message_pb2 import ChatMessage, FinishReason, Role
from chatbot.v1.chat_service_pb2 import ChatRequest, ChatServiceListMessagesRequest
from chatbot.v1.chat_service_pb2_grpc import ChatServiceStub
from chatbot.v1.inference_service_pb2 import SamplingConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatbot.v1.chat_service_pb2 import ChatResponse

ADDRESS = os.environ.get("CHATBOT_ADDRESS", "127.0.0.1:50051")
API_KEY = os.environ.get("CHATBOT_API_KEY", "")
METADATA = (("authorization", f"Bearer {API_KEY}"),) if API_KEY else ()
DEADLINE_SECONDS = 60
MAX_TRIES = 5


class Failure:
    """What a failed call tells: its status, and the details that its trailing metadata carries."""

    def __init__(self, error: grpc.RpcError) -> None:
        # What a call raises is the call itself, though the class of the error does not say so.
        call = cast("grpc.Call", error)
        self.code = call.code()
        self.message = call.details() or ""
        self.info = error_details_pb2.ErrorInfo()
        self.bad_request = error_details_pb2.BadRequest()
        self.retry_seconds: float | None = None
        packed = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        retry = error_details_pb2.RetryInfo()
        for detail in status_pb2.Status.FromString(packed if isinstance(packed, bytes) else b"").details:
            detail.Unpack(self.info)
            detail.Unpack(self.bad_request)
            if detail.Unpack(retry):
                self.retry_seconds = retry.retry_delay.ToTimedelta().total_seconds()

    def seconds_to_wait(self) -> float | None:
        """Returns after how long the same call is worth repeating; None: it is not."""
        if self.retry_seconds is None and self.code is grpc.StatusCode.UNAVAILABLE:
            return 1.0
        return self.retry_seconds

    def show(self) -> None:
        """Prints it."""
        # Words that are not the backend's own may be anything: a proxy's page, a library's internals.
        print(f"! {self.code.name}" + (f" {self.info.reason}: {self.message}" if self.info.reason else ""))
        for violation in self.bad_request.field_violations:
            print(f"!   {violation.field}: {violation.description}")
        if self.retry_seconds is not None:
            print(f"!   worth repeating in {self.retry_seconds:g} s")


def request(conversation: str, text: str) -> ChatRequest:
    """Returns a request to say something, with an id of its own."""
    sampling = SamplingConfig(temperature=0, max_tokens=1000)
    return ChatRequest(conversation=conversation, text=text, request_id=str(uuid.uuid4()), sampling=sampling)


def say(stub: ChatServiceStub, said: ChatRequest) -> ChatMessage:
    """Streams the reply to standard output and returns it as stored.

    A call that was lost is repeated with the same `request_id`: what had arrived is carried out once, and the
    stored outcome is replayed.
    """
    for tries_left in reversed(range(MAX_TRIES)):
        print(f"> {said.text}")
        try:
            return show(stub.Chat(said, timeout=DEADLINE_SECONDS, metadata=METADATA))
        except grpc.RpcError as error:
            failure = Failure(error)
            failure.show()
            seconds = failure.seconds_to_wait()
            if seconds is None or not tries_left:
                raise
            time.sleep(seconds)
    raise AssertionError


def show(events: Iterator[ChatResponse]) -> ChatMessage:
    """Prints a reply as it comes. Reads to the end of the stream: only then is the conversation free again."""
    replayed, reply = "", None
    for event in events:
        if event.HasField("started"):
            replayed = ", replayed" if event.started.replayed else ""
        elif event.HasField("delta"):
            print(event.delta.text, end="", flush=True)
        else:
            reply = event.finished.message
            reason = FinishReason.Name(reply.finish_reason)
            print(f"\n[{reason}, {reply.usage.completion_tokens} tokens{replayed}]")
    if reply is None:
        raise EOFError("The stream ended before the reply did.")
    return reply


def say_and_stop(stub: ChatServiceStub, said: ChatRequest) -> None:
    """Cancels the call after a few pieces of the reply. While it runs, its conversation is busy."""
    print(f"> {said.text}")
    call = stub.Chat(said, timeout=DEADLINE_SECONDS, metadata=METADATA)
    pieces = 0
    try:
        for event in call:
            # A piece may have been on its way already when the call was cancelled.
            if event.HasField("delta") and pieces < 5:
                pieces += 1
                print(event.delta.text, end="", flush=True)
                if pieces == 3:
                    print()
                    show_refusal(stub, request(said.conversation, "Are you there?"))
                if pieces == 5:
                    print()
                    call.cancel()
    except grpc.RpcError as error:
        Failure(error).show()


def show_refusal(stub: ChatServiceStub, said: ChatRequest) -> None:
    """Says something that is refused, and shows the error."""
    try:
        for _ in stub.Chat(said, timeout=DEADLINE_SECONDS, metadata=METADATA):
            pass
    except grpc.RpcError as error:
        Failure(error).show()


def main() -> None:
    """Chats."""
    with grpc.insecure_channel(ADDRESS) as channel:
        stub = ChatServiceStub(channel)

        # No conversation is named, so a new one is begun; its name is part of every message's name.
        question = request("", "What is the capital of France?")
        conversation = say(stub, question).name.partition("/messages/")[0]
        # The same request_id again: nothing is generated, nothing is stored twice.
        say(stub, question)

        story = request(conversation, "Tell me a long story about the sea.")
        say_and_stop(stub, story)
        # What the model had said is kept, and its request_id replays it.
        say(stub, story)

        show_refusal(stub, request(conversation, " "))
        show_refusal(stub, request("conversations/00000000-0000-0000-0000-000000000000", "Hi!"))

        print(f"{conversation}:")
        history = ChatServiceListMessagesRequest(conversation=conversation)
        for message in stub.ListMessages(history, timeout=DEADLINE_SECONDS, metadata=METADATA).messages:
            how = f" {FinishReason.Name(message.finish_reason)}" if message.finish_reason else ""
            print(f"- {Role.Name(message.role)}{how}, {len(message.content)} characters")


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as error:
        sys.exit(f"The call failed: {Failure(error).code.name}.")
