"""A chat service that keeps everything in memory and answers by script, behind a real gRPC server.

It runs on threads of its own, so that a test may block on a terminal while it answers.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2

from chatbot.v1 import chat_message_pb2, chat_service_pb2_grpc, inference_service_pb2, memory_service_pb2
from chatbot.v1 import chat_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKDOWN = "# Plan\n\n1. **Sow** the seeds 🍅\n2. Water\n\n```python\nprint('готово')\n```\n\nDone."


@dataclass
class Failure:
    """An error to answer with."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = "It failed."
    metadata: dict[str, str] = field(default_factory=dict)
    violations: tuple[tuple[str, str], ...] = ()
    retry_seconds: float | None = None


@dataclass
class UserData:
    conversations: dict[str, memory_service_pb2.Conversation] = field(default_factory=dict)
    messages: dict[str, list[chat_message_pb2.ChatMessage]] = field(default_factory=lambda: defaultdict(list))


class ScriptedChat(chat_service_pb2_grpc.ChatServiceServicer):
    """A text's words decide the reply: `slow`, `silent`, `markdown`, `limit`, `broken off`, `lost`; others are echoed.

    `recall WORD` recalls the messages with that word.
    """

    def __init__(self) -> None:
        self.users: dict[str, UserData] = defaultdict(UserData)
        self.requests: list[Any] = []
        self.failures: list[Failure] = []
        self.cancelled = threading.Event()
        self.waiting = threading.Event()
        """Set once a `silent` text is stored."""
        self.languages = ["en"]
        self.keys: set[str] = set()
        """Who may call; empty: everybody."""
        self._clock = itertools.count(1_780_000_000)
        self._names = itertools.count(1)

    def Chat(self, request: pb.ChatRequest, context: grpc.ServicerContext) -> Iterator[pb.ChatResponse]:
        data = self._enter(request, context)
        done = [m for messages in data.messages.values() for m in messages if m.request_id == request.request_id]
        if done:
            yield from self._take_up(data, done, request, context)
            return
        name = request.conversation or self._new_conversation(data, request.text[:30])
        said = self._append(data, name, chat_message_pb2.ROLE_USER, request.text, request_id=request.request_id)
        if request.text == "silent":
            self.waiting.set()
            gone = threading.Event()
            context.add_callback(gone.set)
            gone.wait()
            return
        yield from self._reply(data, said, request, context, pb.ChatResponse)

    def _take_up(self, data: UserData, done: list[Any], request: Any, context: Any) -> Iterator[pb.ChatResponse]:
        """Replays what a turn has stored; replies where there is only the message."""
        said, *replies = done
        if not replies:
            yield from self._reply(data, said, request, context, pb.ChatResponse)
            return
        name = said.name.partition("/messages/")[0]
        yield pb.ChatResponse(started=pb.ReplyStarted(conversation=name, message=said, replayed=True))
        yield pb.ChatResponse(delta=pb.ReplyDelta(text=replies[0].content, token_count=1))
        yield pb.ChatResponse(finished=pb.ReplyFinished(message=replies[0]))

    def Regenerate(
        self, request: pb.RegenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.RegenerateResponse]:
        data = self._enter(request, context)
        messages = data.messages[request.conversation]
        messages.pop()
        yield from self._reply(data, messages[-1], request, context, pb.RegenerateResponse)

    def _reply(self, data: UserData, said: Any, request: Any, context: Any, answer: Any) -> Iterator[Any]:
        name = said.name.partition("/messages/")[0]
        yield answer(
            started=pb.ReplyStarted(
                conversation=name,
                message=said,
                model="tiny",
                sampling=request.sampling,
                prompt_tokens=7,
                cached_tokens=4,
                recalled=[
                    memory_service_pb2.SearchHit(message=message, score=1.5, similarity=0.5)
                    for messages in data.messages.values()
                    for message in messages
                    if said.content.startswith("recall ")
                    and (request.recall.enabled or not request.recall.HasField("enabled"))
                    and message.name != said.name
                    and said.content.removeprefix("recall ") in message.content
                ],
            )
        )
        reason, text = chat_message_pb2.FINISH_REASON_EOS, f"You said: {said.content}"
        if said.content == "slow":
            ended = threading.Event()
            words: list[str] = []

            def end() -> None:
                # In the callback, since grpc does not resume a generator whose call has ended.
                self._append(
                    data,
                    name,
                    chat_message_pb2.ROLE_ASSISTANT,
                    "".join(words),
                    chat_message_pb2.FINISH_REASON_CANCELLED,
                    request_id=request.request_id,
                )
                self.cancelled.set()
                ended.set()

            context.add_callback(end)
            while not ended.wait(0.01):
                words.append(f"word{len(words)} ")
                yield answer(delta=pb.ReplyDelta(text=words[-1], token_count=1))
            return
        if said.content == "markdown":
            text = MARKDOWN
        elif said.content == "limit":
            reason = chat_message_pb2.FINISH_REASON_MAX_TOKENS
        elif said.content == "lost":
            reason = chat_message_pb2.FINISH_REASON_ENGINE_LOST
        for start in range(0, len(text), 3):
            yield answer(delta=pb.ReplyDelta(text=text[start : start + 3], token_count=1))
        if said.content == "broken off":
            return
        reply = self._append(data, name, chat_message_pb2.ROLE_ASSISTANT, text, reason, request_id=request.request_id)
        timings = chat_message_pb2.GenerationTimings(
            queue_time=duration_pb2.Duration(nanos=250_000_000),
            prefill_time=duration_pb2.Duration(nanos=250_000_000),
            decode_time=duration_pb2.Duration(seconds=1, nanos=500_000_000),
            tokens_per_second=20,
        )
        yield answer(finished=pb.ReplyFinished(message=reply, timings=timings))

    def GetContext(self, request: pb.GetContextRequest, context: grpc.ServicerContext) -> pb.GetContextResponse:
        self._enter(request, context)
        kinds = pb.ContextSection
        sections = [
            kinds(kind=kinds.KIND_SYSTEM, role=chat_message_pb2.ROLE_SYSTEM, content="Be brief.", token_count=2),
            kinds(kind=kinds.KIND_MESSAGE, role=chat_message_pb2.ROLE_USER, content=request.text, token_count=3),
        ]
        return pb.GetContextResponse(sections=sections, prompt_tokens=9, context_tokens=2048, window_start_sequence=5)

    def GetModel(
        self, request: pb.ChatServiceGetModelRequest, context: grpc.ServicerContext
    ) -> pb.ChatServiceGetModelResponse:
        self._enter(request, context)
        return pb.ChatServiceGetModelResponse(
            model=inference_service_pb2.Model(
                id="SmolLM2-135M-Instruct",
                weights="bf16",
                description="small, English only",
                languages=self.languages,
                context_tokens=2048,
                device="cpu",
                default_sampling=inference_service_pb2.SamplingConfig(temperature=0.7),
            )
        )

    def CreateConversation(
        self, request: pb.ChatServiceCreateConversationRequest, context: grpc.ServicerContext
    ) -> pb.ChatServiceCreateConversationResponse:
        data = self._enter(request, context)
        name = self._new_conversation(data, request.conversation.title)
        data.conversations[name].system_prompt = request.conversation.system_prompt
        return pb.ChatServiceCreateConversationResponse(conversation=data.conversations[name])

    def GetConversation(
        self, request: pb.ChatServiceGetConversationRequest, context: grpc.ServicerContext
    ) -> pb.ChatServiceGetConversationResponse:
        data = self._enter(request, context)
        return pb.ChatServiceGetConversationResponse(conversation=data.conversations[request.conversation])

    def ListConversations(
        self, request: pb.ChatServiceListConversationsRequest, context: grpc.ServicerContext
    ) -> pb.ChatServiceListConversationsResponse:
        data = self._enter(request, context)
        latest = sorted(data.conversations.values(), key=lambda c: -c.update_time.seconds)
        page, token = self._page(latest, request)
        return pb.ChatServiceListConversationsResponse(conversations=page, next_page_token=token)

    def UpdateConversation(
        self, request: pb.ChatServiceUpdateConversationRequest, context: grpc.ServicerContext
    ) -> pb.ChatServiceUpdateConversationResponse:
        data = self._enter(request, context)
        stored = data.conversations[request.conversation.name]
        request.update_mask.MergeMessage(request.conversation, stored)
        return pb.ChatServiceUpdateConversationResponse(conversation=stored)

    def DeleteConversation(
        self, request: pb.ChatServiceDeleteConversationRequest, context: grpc.ServicerContext
    ) -> pb.ChatServiceDeleteConversationResponse:
        data = self._enter(request, context)
        del data.conversations[request.conversation]
        data.messages.pop(request.conversation, None)
        return pb.ChatServiceDeleteConversationResponse()

    def AppendMessages(
        self, request: pb.ChatServiceAppendMessagesRequest, context: grpc.ServicerContext
    ) -> pb.ChatServiceAppendMessagesResponse:
        data = self._enter(request, context)
        appended = [
            self._append(data, request.conversation, m.role, m.content, m.finish_reason) for m in request.messages
        ]
        return pb.ChatServiceAppendMessagesResponse(messages=appended)

    def ListMessages(
        self, request: pb.ChatServiceListMessagesRequest, context: grpc.ServicerContext
    ) -> pb.ChatServiceListMessagesResponse:
        data = self._enter(request, context)
        messages = data.messages[request.conversation]
        if request.order == memory_service_pb2.LIST_ORDER_NEWEST_FIRST:
            messages = messages[::-1]
        page, token = self._page(messages, request)
        return pb.ChatServiceListMessagesResponse(messages=page, next_page_token=token)

    def SearchMessages(
        self, request: pb.ChatServiceSearchMessagesRequest, context: grpc.ServicerContext
    ) -> pb.ChatServiceSearchMessagesResponse:
        data = self._enter(request, context)
        hits = [
            memory_service_pb2.SearchHit(
                message=message,
                score=2,
                similarity=0.8,
                word_share=0.5,
                dense=1,
                lexical=0.75,
                prior=0.25,
                after=messages[-1:],
            )
            for messages in data.messages.values()
            for message in messages
            if request.query.lower() in message.content.lower()
        ]
        return pb.ChatServiceSearchMessagesResponse(hits=hits)

    def ExportMessages(
        self, request: pb.ChatServiceExportMessagesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ChatServiceExportMessagesResponse]:
        data = self._enter(request, context)
        for name, conversation in data.conversations.items():
            yield pb.ChatServiceExportMessagesResponse(
                record=memory_service_pb2.ExportRecord(conversation=conversation)
            )
            for message in data.messages[name]:
                yield pb.ChatServiceExportMessagesResponse(record=memory_service_pb2.ExportRecord(message=message))

    def DeleteUserData(
        self, request: pb.ChatServiceDeleteUserDataRequest, context: grpc.ServicerContext
    ) -> pb.ChatServiceDeleteUserDataResponse:
        data = self._enter(request, context)
        answer = pb.ChatServiceDeleteUserDataResponse(
            conversation_count=len(data.conversations), message_count=sum(map(len, data.messages.values()))
        )
        data.conversations.clear()
        data.messages.clear()
        return answer

    def _enter(self, request: Any, context: grpc.ServicerContext) -> UserData:
        self.requests.append(request)
        if self.failures:
            self._abort(context, self.failures.pop(0))
        metadata = dict(context.invocation_metadata())
        if self.keys and metadata.get("authorization", "").removeprefix("Bearer ") not in self.keys:
            self._abort(context, Failure(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", "An API key is needed."))
        user = metadata.get("x-user-id-bin", b"")
        return self.users[user.decode()]

    @staticmethod
    def _abort(context: grpc.ServicerContext, failure: Failure) -> None:
        status = status_pb2.Status(code=failure.code.value[0], message=failure.message)
        if failure.reason:
            info = error_details_pb2.ErrorInfo(reason=failure.reason, domain="chatbot", metadata=failure.metadata)
            status.details.add().Pack(info)
        if failure.violations:
            bad = error_details_pb2.BadRequest()
            for name, description in failure.violations:
                bad.field_violations.add(field=name, description=description)
            status.details.add().Pack(bad)
        if failure.retry_seconds is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(round(failure.retry_seconds * 1000))
            status.details.add().Pack(retry)
        if status.details:
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(failure.code, failure.message)

    def _page(self, items: list[Any], request: Any) -> tuple[list[Any], str]:
        start = int(request.page_token or 0)
        end = start + (request.page_size or 2)
        return items[start:end], str(end) if end < len(items) else ""

    def _new_conversation(self, data: UserData, title: str) -> str:
        name = f"conversations/{next(self._names)}"
        now = timestamp_pb2.Timestamp(seconds=next(self._clock))
        data.conversations[name] = memory_service_pb2.Conversation(
            name=name, title=title, create_time=now, update_time=now
        )
        return name

    def _append(
        self, data: UserData, name: str, role: Any, content: str, reason: Any = 0, *, request_id: str = ""
    ) -> chat_message_pb2.ChatMessage:
        now = timestamp_pb2.Timestamp(seconds=next(self._clock))
        messages = data.messages[name]
        message = chat_message_pb2.ChatMessage(
            name=f"{name}/messages/{len(messages) + 1}",
            role=role,
            content=content,
            create_time=now,
            sequence=len(messages) + 1,
            finish_reason=reason,
            request_id=request_id,
            usage=chat_message_pb2.Usage(prompt_tokens=7, cached_tokens=4, completion_tokens=3) if reason else None,
        )
        messages.append(message)
        data.conversations[name].last_sequence = data.conversations[name].message_count = len(messages)
        data.conversations[name].update_time.CopyFrom(now)
        return message


@dataclass
class RunningChat:
    """A scripted chat and where it listens."""

    service: ScriptedChat
    address: str
    server: grpc.Server


def start(address: str = "127.0.0.1:0", service: ScriptedChat | None = None) -> RunningChat:
    """Starts a scripted chat."""
    service = service or ScriptedChat()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    chat_service_pb2_grpc.add_ChatServiceServicer_to_server(service, server)
    port = server.add_insecure_port(address)
    server.start()
    return RunningChat(service, f"127.0.0.1:{port}", server)
