"""The client library over a real channel."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

import client as library
from chatbot.v1 import chat_message_pb2, memory_service_pb2
from chatbot.v1 import chat_service_pb2 as pb
from client import ChatClient, FinishReason, MessageFilter, NewMessage, RecallConfig, Role, SamplingConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.contract.client.scripted_chat import Failure, RunningChat


@pytest_asyncio.fixture
async def client(running: RunningChat) -> AsyncIterator[ChatClient]:
    async with ChatClient(running.address) as chat_client:
        yield chat_client


async def test_a_reply_is_started_streamed_and_finished(client: ChatClient) -> None:
    reply = client.chat("Привет 🍅")
    texts = [text async for text in reply]
    assert len(texts) > 1
    assert "".join(texts) == "You said: Привет 🍅"
    assert reply.started is not None
    assert reply.started.conversation == "conversations/1"
    assert reply.started.message.content == "Привет 🍅"
    assert reply.finished is not None
    assert reply.finished.message.content == "You said: Привет 🍅"
    assert reply.finished.message.role is Role.ASSISTANT
    assert reply.finished.message.finish_reason is FinishReason.EOS
    assert reply.finished.message.usage == library.Usage(7, 4, 3)
    assert reply.finished.timings == library.GenerationTimings(0.25, 0.25, 1.5, 20.0)
    assert not reply.cancelled


async def test_what_was_recalled_comes_with_the_start(client: ChatClient) -> None:
    await client.chat("Ripe tomatoes").result()
    reply = client.chat("recall tomatoes")
    await reply.result()
    assert reply.started is not None
    assert [(hit.message.content, hit.similarity) for hit in reply.started.recalled] == [
        ("Ripe tomatoes", 0.5),
        ("You said: Ripe tomatoes", 0.5),
    ]


async def test_a_reply_tells_what_has_come_of_it_and_when_the_first_of_it_came(client: ChatClient) -> None:
    reply = client.chat("Привет")
    assert (reply.text, reply.seconds_to_first_text) == ("", None)
    await reply.result()
    assert reply.text == "You said: Привет"
    assert reply.seconds_to_first_text is not None


async def test_nothing_is_sent_before_the_reply_is_asked_for(client: ChatClient, running: RunningChat) -> None:
    reply = client.chat("Hi")
    reply.cancel()
    assert await reply.result() is None
    assert running.service.requests == []
    with pytest.raises(RuntimeError):
        await reply.result()


async def test_cancelling_ends_the_iteration_quietly_and_stops_the_backend(
    client: ChatClient, running: RunningChat
) -> None:
    reply = client.chat("slow")
    async for _ in reply:
        reply.cancel()
    assert reply.cancelled
    assert reply.finished is None
    assert await asyncio.to_thread(running.service.cancelled.wait, 10)


async def test_leaving_the_block_stops_the_backend(client: ChatClient, running: RunningChat) -> None:
    async with client.chat("slow") as reply:
        async for _ in reply:
            break
    assert await asyncio.to_thread(running.service.cancelled.wait, 10)


async def test_cancelling_the_task_that_reads_cancels_it_and_stops_the_backend(
    client: ChatClient, running: RunningChat
) -> None:
    first = asyncio.Event()

    async def read() -> None:
        async for _ in client.chat("slow"):
            first.set()

    task = asyncio.create_task(read())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(running.service.cancelled.wait, 10)


async def test_a_reply_without_its_end_is_an_error(client: ChatClient) -> None:
    with pytest.raises(library.InternalError) as caught:
        await client.chat("broken off").result()
    assert caught.value.reason == "TRUNCATED"


async def test_settings_arrive_as_they_are_given_and_no_others(client: ChatClient, running: RunningChat) -> None:
    await client.chat(
        "Hi",
        sampling=SamplingConfig(temperature=0, top_k=0, seed=2**64 - 1, stop=("END",)),
        recall=RecallConfig(enabled=False),
    ).result()
    [request] = running.service.requests
    assert request.sampling.HasField("temperature")
    assert request.sampling.HasField("top_k")
    assert request.sampling.seed == 2**64 - 1
    assert list(request.sampling.stop) == ["END"]
    assert not request.sampling.HasField("top_p")
    assert request.recall.HasField("enabled")
    assert not request.recall.enabled
    assert not request.recall.HasField("limit")


async def test_every_write_has_a_fresh_request_id_unless_one_is_given(client: ChatClient, running: RunningChat) -> None:
    await client.chat("one").result()
    await client.chat("two", conversation="conversations/1").result()
    await client.regenerate("conversations/1").result()
    await client.create_conversation(title="t")
    await client.update_conversation("conversations/1", title="u")
    await client.append_messages("conversations/1", [NewMessage(Role.USER, "three")])
    await client.delete_conversation("conversations/1")
    await client.delete_user_data()
    ids = [request.request_id for request in running.service.requests]
    assert len(set(ids)) == 8
    assert all(uuid.UUID(request_id).version == 4 for request_id in ids)
    own = str(uuid.uuid4())
    await client.chat("three", request_id=own).result()
    assert running.service.requests[-1].request_id == own


async def test_a_call_that_was_not_taken_is_tried_again(
    client: ChatClient, running: RunningChat, failure: Callable[..., Failure]
) -> None:
    running.service.failures = [failure("UNAVAILABLE", "SHUTTING_DOWN")] * 3
    finished = await client.chat("Hi").result()
    assert finished is not None
    assert len({request.request_id for request in running.service.requests}) == 1
    assert len(running.service.requests) == 4


async def test_an_error_tells_all_that_the_server_told(
    client: ChatClient, running: RunningChat, failure: Callable[..., Failure]
) -> None:
    running.service.failures = [
        failure(
            "INVALID_ARGUMENT",
            "CONTEXT_LENGTH_EXCEEDED",
            "Too long.",
            metadata={"n_prompt": "9", "n_context": "8"},
            violations=(("text", "must be shorter"),),
            retry_seconds=1.5,
        )
    ]
    with pytest.raises(library.ContextTooLong) as caught:
        await client.chat("Hi").result()
    error = caught.value
    assert isinstance(error, library.InvalidArgument)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.reason == "CONTEXT_LENGTH_EXCEEDED"
    assert (error.message, str(error)) == ("Too long.", "Too long.")
    assert error.metadata == {"n_prompt": "9", "n_context": "8"}
    assert error.violations == (library.FieldViolation("text", "must be shorter"),)
    assert error.retry_after == 1.5


@pytest.mark.parametrize(
    "case",
    [
        ("INVALID_ARGUMENT", "SOMETHING_NEW", library.InvalidArgument),
        ("INVALID_ARGUMENT", "REQUEST_ID_REUSED", library.RequestIdReused),
        ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN", library.InvalidPageToken),
        ("NOT_FOUND", "CONVERSATION_NOT_FOUND", library.ConversationNotFound),
        ("NOT_FOUND", "MESSAGE_NOT_FOUND", library.MessageNotFound),
        ("FAILED_PRECONDITION", "NOTHING_TO_REGENERATE", library.NothingToRegenerate),
        ("ABORTED", "CONVERSATION_BUSY", library.ConversationBusy),
        ("ABORTED", "SEQUENCE_MISMATCH", library.ChatbotError),
        ("RESOURCE_EXHAUSTED", "OVERLOADED", library.Overloaded),
        ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", library.DeadlineExceeded),
        ("UNIMPLEMENTED", "NOT_IMPLEMENTED", library.NotImplementedByServer),
        ("INTERNAL", "INTERNAL", library.InternalError),
        ("UNAUTHENTICATED", "UNAUTHENTICATED", library.Unauthenticated),
        ("PERMISSION_DENIED", "", library.PermissionDenied),
        ("DATA_LOSS", "", library.ChatbotError),
    ],
)
async def test_each_status_and_reason_has_its_class(
    client: ChatClient,
    running: RunningChat,
    failure: Callable[..., Failure],
    case: tuple[str, str, type[library.ChatbotError]],
) -> None:
    code, reason, kind = case
    running.service.failures = [failure(code, reason)]
    with pytest.raises(library.ChatbotError) as caught:
        await client.get_model()
    assert type(caught.value) is kind
    assert caught.value.code is grpc.StatusCode[code]


async def test_words_that_are_not_the_backends_own_are_not_passed_on(
    client: ChatClient, running: RunningChat, failure: Callable[..., Failure]
) -> None:
    running.service.failures = [failure("UNKNOWN", message="<html>a proxy's page</html>")]
    with pytest.raises(library.ChatbotError) as caught:
        await client.get_model()
    assert caught.value.message == "The call failed (UNKNOWN)."


async def test_nothing_at_the_address_is_told(unused_tcp_port: int) -> None:
    async with ChatClient(f"127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(library.NotConnected) as caught:
            await client.get_model()
    assert caught.value.message == f"No answer from 127.0.0.1:{unused_tcp_port}."
    assert isinstance(caught.value, library.Unavailable)


async def test_a_deadline_is_kept(client: ChatClient) -> None:
    with pytest.raises(library.DeadlineExceeded):
        await client.chat("slow", timeout=0.2).result()


@pytest.mark.parametrize("number", [-1, 2**64])
async def test_a_number_that_does_not_fit_is_refused_at_once(client: ChatClient, number: int) -> None:
    with pytest.raises(library.InvalidArgument):
        client.chat("Hi", sampling=SamplingConfig(seed=number))


async def test_a_text_that_is_no_unicode_is_refused_at_once(client: ChatClient) -> None:
    with pytest.raises(library.InvalidArgument):
        client.chat("\ud800")
    with pytest.raises(library.InvalidArgument):
        await client.search("\ud800")


async def test_a_closed_client_says_so(running: RunningChat) -> None:
    client = ChatClient(running.address)
    with pytest.raises(library.ChatbotError) as caught:
        await client.get_model()
    assert caught.value.reason == "CLOSED"


async def test_users_of_any_script_are_told_apart(running: RunningChat) -> None:
    async with ChatClient(running.address, "Аня") as anya, ChatClient(running.address, "bob") as bob:
        await anya.chat("секрет").result()
        assert [c.title async for c in anya.list_conversations()] == ["секрет"]
        assert [c async for c in bob.list_conversations()] == []
        assert await bob.search("секрет") == []
    assert set(running.service.users) == {"Аня", "bob"}


async def test_conversations_are_created_read_changed_listed_and_deleted(client: ChatClient) -> None:
    created = await client.create_conversation(title="Огород", system_prompt="Кратко.")
    assert (created.title, created.system_prompt, created.last_sequence) == ("Огород", "Кратко.", 0)
    assert created.create_time == datetime.fromtimestamp(1_780_000_000, UTC)
    changed = await client.update_conversation(created.name, system_prompt="")
    assert (changed.title, changed.system_prompt) == ("Огород", "")
    for number in range(4):
        await client.create_conversation(title=str(number))
    titles = [conversation.title async for conversation in client.list_conversations(page_size=2)]
    assert titles == ["3", "2", "1", "0", "Огород"]
    await client.delete_conversation(created.name)
    assert created.name not in [c.name async for c in client.list_conversations()]
    assert (await client.get_conversation("conversations/2")).title == "0"


async def test_messages_are_appended_as_they_are_given(client: ChatClient, running: RunningChat) -> None:
    conversation = await client.create_conversation()
    said_at = datetime(2026, 1, 2, tzinfo=UTC)
    stored = await client.append_messages(
        conversation.name,
        [
            NewMessage(Role.USER, "Привет", author="Анна", create_time=said_at),
            NewMessage(Role.ASSISTANT, "Hello", finish_reason=FinishReason.MAX_TOKENS, usage=library.Usage(7, 2, 1)),
        ],
    )
    assert [(m.role, m.content, m.sequence) for m in stored] == [
        (Role.USER, "Привет", 1),
        (Role.ASSISTANT, "Hello", 2),
    ]
    first, second = running.service.requests[-1].messages
    assert (first.author, first.create_time.ToDatetime(UTC), first.HasField("usage")) == ("Анна", said_at, False)
    assert second.finish_reason == chat_message_pb2.FINISH_REASON_MAX_TOKENS
    assert second.usage == chat_message_pb2.Usage(prompt_tokens=7, cached_tokens=2, completion_tokens=1)
    assert not second.HasField("author")
    assert not second.HasField("create_time")


async def test_a_client_of_another_user_shares_the_connection_and_nothing_else(running: RunningChat) -> None:
    async with ChatClient(running.address, "анна") as client:
        await client.create_conversation(title="Hers")
        other = client.as_user("boris")
        await other.create_conversation(title="His")
        await other.close()
        assert [c.title async for c in client.list_conversations()] == ["Hers"]
        assert [c.title async for c in client.as_user("boris").list_conversations()] == ["His"]
        await client.as_user(None).create_conversation(title="Nobody's")
    with pytest.raises(library.ChatbotError, match="not open"):
        await other.create_conversation()
    assert {user: [c.title for c in data.conversations.values()] for user, data in running.service.users.items()} == {
        "анна": ["Hers"],
        "boris": ["His"],
        "": ["Nobody's"],
    }


async def test_messages_are_listed_over_pages_either_way(client: ChatClient, running: RunningChat) -> None:
    for text in ("one", "two", "three"):
        await client.chat(text, conversation="conversations/1" if text != "one" else "").result()
    oldest_first = [m.sequence async for m in client.list_messages("conversations/1", page_size=4)]
    assert oldest_first == [1, 2, 3, 4, 5, 6]
    newest_first = [m async for m in client.list_messages("conversations/1", newest_first=True)]
    assert [m.sequence for m in newest_first] == oldest_first[::-1]
    assert newest_first[0].conversation == "conversations/1"
    since = datetime(2026, 1, 2, tzinfo=UTC)
    narrowing = MessageFilter(roles=(Role.USER,), authors=("Аня",), start_time=since)
    assert [m async for m in client.list_messages("conversations/1", narrowing=narrowing)]
    sent = running.service.requests[-1].filter
    assert list(sent.roles) == [chat_message_pb2.ROLE_USER]
    assert list(sent.authors) == ["Аня"]
    assert sent.start_time.ToDatetime(tzinfo=UTC) == since
    assert not sent.HasField("end_time")


async def test_search_export_context_model_and_deleting_everything(client: ChatClient, running: RunningChat) -> None:
    await client.chat("I grow tomatoes").result()
    [mine, reply] = await client.search(
        "tomatoes",
        limit=5,
        narrowing=MessageFilter(roles=(Role.USER,)),
        neighbours=1,
        recency_half_life=timedelta(days=30),
    )
    assert (mine.message.content, mine.score, mine.similarity) == ("I grow tomatoes", 2.0, 0.8)
    assert (mine.word_share, mine.dense, mine.lexical, mine.prior) == (0.5, 1, 0.75, 0.25)
    assert (mine.before, mine.after) == ((), (reply.message,))
    assert reply.message.role is Role.ASSISTANT
    request = running.service.requests[-1]
    assert isinstance(request, pb.ChatServiceSearchMessagesRequest)
    assert request.limit == 5
    assert request.neighbours == 1
    assert request.recency_half_life.ToTimedelta() == timedelta(days=30)
    exported = [record async for record in client.export()]
    assert [type(record) for record in exported] == [library.Conversation, library.Message, library.Message]
    context = await client.get_context("Hi", recall=RecallConfig(limit=3))
    assert context.sections[1:] == (library.ContextSection(library.SectionKind.MESSAGE, Role.USER, "Hi", 3),)
    model = await client.get_model()
    assert (model.id, model.languages, model.context_tokens) == ("SmolLM2-135M-Instruct", ("en",), 2048)
    assert model.default_sampling.temperature == pytest.approx(0.7)
    assert model.default_sampling.seed is None
    assert await client.delete_user_data() == library.DeletedData(1, 2)


def test_every_enum_of_the_protocol_has_its_value() -> None:
    for numbers, prefix, values in (
        (chat_message_pb2.Role, "ROLE_", Role),
        (chat_message_pb2.FinishReason, "FINISH_REASON_", FinishReason),
        (pb.ContextSection.Kind, "KIND_", library.SectionKind),
    ):
        assert {name.removeprefix(prefix): number for name, number in numbers.items()} == {
            value.name: value.value for value in values
        }
    assert memory_service_pb2.LIST_ORDER_NEWEST_FIRST == 2
