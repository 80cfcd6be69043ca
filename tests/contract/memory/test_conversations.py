"""Conversations at the door."""

from __future__ import annotations

import uuid

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from chatbot.v1 import memory_service_pb2 as pb

A_UUID = "123e4567-e89b-12d3-a456-426614174000"


SUMMARY = ["summary", "summary_through_sequence"]


async def test_a_conversation_is_created_returned_and_listed(client):
    made = await client.create("Мой сад 🌱", "Будь краток.")
    assert made.name.startswith("conversations/")
    assert (made.title, made.system_prompt, made.last_sequence, made.window_start_sequence) == (
        "Мой сад 🌱",
        "Будь краток.",
        0,
        1,
    )
    assert made.create_time.seconds > 1_700_000_000
    got = await client.stub.GetConversation(pb.GetConversationRequest(user_id=client.user_id, conversation=made.name))
    assert got.conversation == made
    listed = await client.stub.ListConversations(pb.ListConversationsRequest(user_id=client.user_id))
    assert list(listed.conversations) == [made]
    assert listed.next_page_token == ""


async def test_repeating_a_creation_returns_the_first_outcome(client):
    first = await client.create("t", request_id=A_UUID)
    assert await client.create("t", request_id=A_UUID.upper()) == first


async def test_a_request_id_used_for_something_else_is_refused(client, refused):
    made = await client.create("t", request_id=A_UUID)
    for call in (client.create("u", request_id=A_UUID), client.append(made.name, "x", request_id=A_UUID)):
        told = await refused(call)
        assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED", ("request_id",))


async def test_what_is_another_users_is_answered_like_what_does_not_exist(client, refused):
    made = await client.create("mine")
    await client.append(made.name, "one")

    def calls(user, name):
        return [
            client.stub.GetConversation(pb.GetConversationRequest(user_id=user, conversation=name)),
            client.stub.ListMessages(pb.ListMessagesRequest(user_id=user, conversation=name)),
            client.stub.SearchMessages(pb.SearchMessagesRequest(user_id=user, conversation=name, query="one")),
            client.stub.DeleteConversation(
                pb.DeleteConversationRequest(user_id=user, conversation=name, request_id=A_UUID)
            ),
            client.stub.UpdateConversation(
                pb.UpdateConversationRequest(
                    user_id=user,
                    conversation=pb.Conversation(name=name, title="x"),
                    update_mask=FieldMask(paths=["title"]),
                    request_id=A_UUID,
                )
            ),
            client.append(name, "x", user_id=user, request_id=A_UUID),
            client.stub.ExportMessages(pb.ExportMessagesRequest(user_id=user, conversation=name)).read(),
        ]

    for foreign, unknown in zip(calls("bob", made.name), calls("bob", "conversations/none"), strict=True):
        told = await refused(foreign)
        assert (told.code, told.reason) == ("NOT_FOUND", "CONVERSATION_NOT_FOUND")
        assert told == await refused(unknown)
    assert len(await client.list(made.name)) == 1


async def test_an_update_changes_the_fields_of_the_mask_alone(client):
    made = await client.create("old", "kind")
    changed = await client.stub.UpdateConversation(
        pb.UpdateConversationRequest(
            user_id=client.user_id,
            conversation=pb.Conversation(name=made.name, title="new", system_prompt="ignored", window_start_sequence=1),
            update_mask=FieldMask(paths=["title", "window_start_sequence"]),
            request_id=A_UUID,
        )
    )
    assert (changed.conversation.title, changed.conversation.system_prompt) == ("new", "kind")


@pytest.mark.parametrize(
    ("conversation", "paths", "field"),
    [
        (pb.Conversation(), [], "update_mask"),
        (pb.Conversation(), ["name"], "update_mask"),
        (pb.Conversation(), ["title", "*"], "update_mask"),
        (pb.Conversation(title="x" * 201), ["title"], "conversation.title"),
        (pb.Conversation(title="a\0b"), ["title"], "conversation.title"),
        (pb.Conversation(window_start_sequence=0), ["window_start_sequence"], "conversation.window_start_sequence"),
        (pb.Conversation(window_start_sequence=2), ["window_start_sequence"], "conversation.window_start_sequence"),
        (pb.Conversation(summary="s", summary_through_sequence=0), ["summary"], "update_mask"),
        (pb.Conversation(summary="s"), SUMMARY, "conversation.summary_through_sequence"),
        (pb.Conversation(summary="s", summary_through_sequence=1), SUMMARY, "conversation.summary_through_sequence"),
        (pb.Conversation(summary="s" * 20_001, summary_through_sequence=1), SUMMARY, "conversation.summary"),
        (pb.Conversation(title="t", title_source=9), ["title"], "conversation.title_source"),
    ],
)
async def test_a_wrong_update_is_refused_by_its_field(client, refused, conversation, paths, field):
    made = await client.create("old")
    conversation.name = made.name
    told = await refused(
        client.stub.UpdateConversation(
            pb.UpdateConversationRequest(
                user_id=client.user_id,
                conversation=conversation,
                update_mask=FieldMask(paths=paths),
                request_id=A_UUID,
            )
        )
    )
    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT", (field,))


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"user_id": ""}, "user_id"),
        ({"user_id": "u" * 201}, "user_id"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": "123"}, "request_id"),
        ({"request_id": "{" + A_UUID + "}"}, "request_id"),
        ({"title": "я" * 201}, "conversation.title"),
        ({"system_prompt": "x" * 1_000_001}, "conversation.system_prompt"),
        ({"system_prompt": "\0"}, "conversation.system_prompt"),
    ],
)
async def test_a_wrong_creation_is_refused_by_its_field(client, refused, fields, wrong):
    told = await refused(client.create(**fields))
    assert (told.code, told.fields) == ("INVALID_ARGUMENT", (wrong,))


async def test_deletion_is_final_and_repeatable(client, refused):
    made = await client.create()
    await client.append(made.name, "one")
    request = pb.DeleteConversationRequest(user_id=client.user_id, conversation=made.name, request_id=A_UUID)
    await client.stub.DeleteConversation(request)
    await client.stub.DeleteConversation(request)
    told = await refused(
        client.stub.GetConversation(pb.GetConversationRequest(user_id=client.user_id, conversation=made.name))
    )
    assert told.reason == "CONVERSATION_NOT_FOUND"
    assert await client.search("one") == []


async def test_pages_of_conversations_hold_each_once(client):
    names = [(await client.create(str(i))).name for i in range(7)]
    request = pb.ListConversationsRequest(user_id=client.user_id, page_size=3)
    seen, sizes = [], []
    while True:
        page = await client.stub.ListConversations(request)
        sizes.append(len(page.conversations))
        seen += [c.name for c in page.conversations]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert sizes == [3, 3, 1]
    assert seen == names[::-1]


async def test_a_page_token_of_another_user_is_refused(client, refused):
    for _ in range(2):
        await client.create()
    page = await client.stub.ListConversations(pb.ListConversationsRequest(user_id=client.user_id, page_size=1))
    for user, token in (("bob", page.next_page_token), (client.user_id, "AAAA"), (client.user_id, "…")):
        told = await refused(client.stub.ListConversations(pb.ListConversationsRequest(user_id=user, page_token=token)))
        assert (told.code, told.reason, told.fields) == (
            "INVALID_ARGUMENT",
            "INVALID_PAGE_TOKEN",
            ("page_token",),
        )


@pytest.mark.parametrize("size", [-1, 1001])
async def test_an_absurd_page_size_is_refused(client, refused, size):
    told = await refused(client.stub.ListConversations(pb.ListConversationsRequest(user_id="ann", page_size=size)))
    assert told.fields == ("page_size",)


async def updated(client, name: str, paths: list[str], request_id: str | None = None, **fields) -> pb.Conversation:
    given = {key: fields.pop(key) for key in paths}
    request = pb.UpdateConversationRequest(
        user_id=client.user_id,
        conversation=pb.Conversation(name=name, **given),
        update_mask=FieldMask(paths=paths),
        request_id=request_id or str(uuid.uuid4()),
        **fields,
    )
    return (await client.stub.UpdateConversation(request)).conversation


async def test_a_summary_is_kept_beside_the_conversation_and_does_not_count_as_its_use(client):
    made = await client.create("t")
    await client.append(made.name, "one", "two")
    before = await client.stub.GetConversation(
        pb.GetConversationRequest(user_id=client.user_id, conversation=made.name)
    )
    after = await updated(client, made.name, SUMMARY, summary="Of peas.", summary_through_sequence=1)
    assert (after.summary, after.summary_through_sequence) == ("Of peas.", 1)
    assert after.update_time == before.conversation.update_time


@pytest.mark.parametrize(
    "expected",
    [
        {"expected_summary_through_sequence": 1},
        {"expected_window_start_sequence": 2},
        {"expected_title_source": pb.TITLE_SOURCE_FIRST_MESSAGE},
    ],
)
async def test_an_update_of_a_conversation_that_is_not_as_expected_changes_nothing(client, refused, expected):
    made = await client.create("t")
    await client.append(made.name, "one", "two")
    change = updated(client, made.name, SUMMARY, summary="s", summary_through_sequence=2, **expected)
    told = await refused(change)
    assert (told.code, told.reason) == ("ABORTED", "CONVERSATION_CHANGED")
    assert (await updated(client, made.name, ["title"], title="t")).summary == ""


async def test_of_two_updates_that_expect_the_same_state_one_is_made_and_its_repetition_is_harmless(client, refused):
    made = await client.create("t")
    await client.append(made.name, "one", "two")
    expected = {
        "expected_summary_through_sequence": 0,
        "expected_window_start_sequence": 1,
        "expected_title_source": pb.TITLE_SOURCE_USER,
    }
    first = {"summary": "first", "summary_through_sequence": 2, "request_id": A_UUID, **expected}
    await updated(client, made.name, SUMMARY, **first)
    told = await refused(updated(client, made.name, SUMMARY, summary="second", summary_through_sequence=1, **expected))
    assert told.reason == "CONVERSATION_CHANGED"
    assert (await updated(client, made.name, SUMMARY, **first)).summary == "first"


async def test_a_summary_goes_when_something_it_sums_up_is_superseded(client):
    made = await client.create("t")
    await client.append(made.name, "one", "two", "three")
    await updated(client, made.name, SUMMARY, summary="s", summary_through_sequence=2)
    await client.append(made.name, "instead of three", supersede_from_sequence=3)
    assert (await updated(client, made.name, ["title"], title="t")).summary == "s"
    await client.append(made.name, "instead of two", supersede_from_sequence=2)
    without = await updated(client, made.name, ["title"], title="t")
    assert (without.summary, without.summary_through_sequence) == ("", 0)


async def test_a_title_is_the_users_unless_it_is_said_to_be_a_models(client):
    assert (await client.create("t")).title_source == pb.TITLE_SOURCE_USER
    made = await client.create()
    assert made.title_source == pb.TITLE_SOURCE_UNSPECIFIED
    by_model = await updated(
        client, made.name, ["title", "title_source"], title="Peas", title_source=pb.TITLE_SOURCE_MODEL
    )
    assert (by_model.title, by_model.title_source) == ("Peas", pb.TITLE_SOURCE_MODEL)
    assert (await updated(client, made.name, ["title"], title="Mine")).title_source == pb.TITLE_SOURCE_USER
