"""What every store must do. Runs on each backend of `conftest.BACKENDS`."""

from __future__ import annotations

import asyncio
import time
import uuid

import numpy as np
import pytest

from services.memory.conversation import (
    ConversationChange,
    ConversationCursor,
    ConversationDraft,
    Expiry,
    ImportedConversation,
    ImportedMessage,
    Summary,
)
from services.memory.embedder import FakeEmbedder
from services.memory.message import (
    Append,
    FinishReason,
    MessageDraft,
    MessageFilter,
    MessageQuery,
    MessageRange,
    Role,
    Usage,
)
from services.memory.resource_name import MessageName
from services.memory.terms import RECIPE, pack_terms
from services.memory.vector import NewVector
from services.rpc.errors import (
    ConversationBusy,
    ConversationNotFound,
    InvalidArgument,
    MessageNotFound,
    RequestIdReused,
    SequenceMismatch,
)

HELLO = (MessageDraft(Role.USER, "hello"),)


async def test_a_new_conversation_is_found_by_its_user_and_by_nobody_else(desk):
    made = await desk.conversation(title="Сад")
    assert await desk.store.get_conversation("ann", made.id) == made
    assert (made.title, made.last_sequence, made.message_count, made.window_start_sequence) == ("Сад", 0, 0, 1)
    with pytest.raises(ConversationNotFound) as foreign:
        await desk.store.get_conversation("bob", made.id)
    with pytest.raises(ConversationNotFound) as unknown:
        await desk.store.get_conversation("bob", "nothing")
    assert str(foreign.value) == str(unknown.value)


async def test_messages_keep_all_that_they_came_with(desk, new_write):
    talk = await desk.conversation()
    drafts = (
        MessageDraft(Role.USER, "Привет \x01\t\n😀", author="Иван", create_ns=-1_234_567_890_123_456_789),
        MessageDraft(
            Role.ASSISTANT,
            "",
            finish_reason=FinishReason.CANCELLED,
            usage=Usage(5, 2, 0),
            reply_to=MessageName(talk.id, 1),
        ),
    )
    stored = (await desk.store.append_messages(Append(talk.id, drafts), new_write())).messages
    assert stored == await desk.everything(talk.id)
    assert [message.sequence for message in stored] == [1, 2]
    assert (stored[0].content, stored[0].author, stored[0].create_ns) == (
        drafts[0].content,
        "Иван",
        -1_234_567_890_123_456_789,
    )
    assert (stored[1].finish_reason, stored[1].usage, stored[1].reply_to) == (
        FinishReason.CANCELLED,
        Usage(5, 2, 0),
        1,
    )


async def test_a_repeated_append_returns_the_first_outcome_and_stores_nothing(desk, new_write):
    talk = await desk.conversation()
    request = new_write()
    first = await desk.say(talk.id, "one", "two", request=request)
    await desk.say(talk.id, "three")
    again = await desk.say(talk.id, "one", "two", request=request)
    assert again.replayed
    assert not first.replayed
    assert again.messages == first.messages
    assert [m.content for m in await desk.everything(talk.id)] == ["one", "two", "three"]


async def test_a_request_id_with_another_content_is_refused_and_stores_nothing(desk, new_write):
    talk = await desk.conversation()
    same = str(uuid.uuid4())
    await desk.say(talk.id, "one", request=new_write(request_id=same))
    with pytest.raises(RequestIdReused):
        await desk.say(talk.id, "two", request=new_write(request_id=same, digest=b"other"))
    assert [m.content for m in await desk.everything(talk.id)] == ["one"]


async def test_two_users_may_use_the_same_request_id(desk, new_write):
    same = str(uuid.uuid4())
    ann = await desk.store.create_conversation(ConversationDraft("", ""), new_write("ann", request_id=same))
    bob = await desk.store.create_conversation(ConversationDraft("", ""), new_write("bob", request_id=same))
    assert ann.id != bob.id


async def test_creating_twice_under_one_request_id_makes_one_conversation(desk, new_write):
    request = new_write()
    first = await desk.store.create_conversation(ConversationDraft("t", ""), request)
    assert await desk.store.create_conversation(ConversationDraft("t", ""), request) == first
    assert await desk.store.conversation_ids("ann") == [first.id]


async def test_an_append_repeated_after_its_conversation_was_deleted_is_not_found(desk, new_write):
    talk = await desk.conversation()
    request = new_write()
    await desk.say(talk.id, "one", request=request)
    await desk.store.delete_conversation(talk.id, new_write())
    with pytest.raises(ConversationNotFound):
        await desk.say(talk.id, "one", request=request)


async def test_an_append_that_expects_another_sequence_stores_nothing(desk, new_write):
    talk = await desk.conversation()
    await desk.say(talk.id, "one")
    with pytest.raises(SequenceMismatch) as refusal:
        await desk.store.append_messages(Append(talk.id, HELLO, expected_last_sequence=0), new_write())
    assert refusal.value.metadata == {"last_sequence": "1", "expected_last_sequence": "0"}
    stored = await desk.store.append_messages(Append(talk.id, HELLO, expected_last_sequence=1), new_write())
    assert stored.messages[0].sequence == 2


@pytest.mark.parametrize("sequence", [0, 2, 99])
async def test_a_reply_to_what_is_not_before_it_stores_nothing(desk, new_write, sequence):
    talk = await desk.conversation()
    await desk.say(talk.id, "one")
    other = await desk.conversation()
    await desk.say(other.id, "elsewhere")
    for target in (MessageName(talk.id, sequence), MessageName(other.id, 1)):
        draft = MessageDraft(Role.ASSISTANT, "reply", reply_to=target)
        with pytest.raises(MessageNotFound):
            await desk.store.append_messages(Append(talk.id, (draft,)), new_write())
    assert len(await desk.everything(talk.id)) == 1


async def test_superseded_messages_leave_lists_and_searches_but_are_kept(desk, new_write):
    talk = await desk.conversation()
    await desk.say(talk.id, "question", "first answer")
    await desk.embed_all(FakeEmbedder())
    before = (await desk.standing("ann")).log
    await desk.store.append_messages(
        Append(talk.id, (MessageDraft(Role.ASSISTANT, "second answer"),), supersede_from_sequence=2), new_write()
    )
    listed = (await desk.store.list_messages("ann", MessageQuery(talk.id, 50))).messages
    assert [(m.sequence, m.content) for m in listed] == [(1, "question"), (3, "second answer")]
    assert [(m.sequence, m.superseded) for m in await desk.everything(talk.id)] == [
        (1, False),
        (2, True),
        (3, False),
    ]
    assert (await desk.vectors_after("ann", "fake", 0, 10)).sequences.tolist() == [1]
    after = (await desk.standing("ann")).log
    assert after.deletion_counter == before.deletion_counter + 1


async def test_deleted_messages_are_gone_and_the_others_keep_their_places(desk, new_write):
    talk = await desk.conversation()
    await desk.say(talk.id, "one", "two")
    answers = (
        MessageDraft(Role.ASSISTANT, "answer", author="model", reply_to=MessageName(talk.id, 2)),
        MessageDraft(Role.ASSISTANT, "another", reply_to=MessageName(talk.id, 3)),
    )
    await desk.store.append_messages(Append(talk.id, answers), new_write())
    await desk.embed_all(FakeEmbedder())
    await desk.say(talk.id, "waits")
    before = (await desk.standing("ann")).log
    request = new_write()
    assert await desk.store.delete_messages(MessageRange(talk.id, 2, 3), request) == 2
    assert await desk.store.delete_messages(MessageRange(talk.id, 2, 3), request) == 2
    assert await desk.store.delete_messages(MessageRange(talk.id, 2, 2), new_write()) == 0
    listed = (await desk.store.list_messages("ann", MessageQuery(talk.id, 50))).messages
    assert [(m.sequence, m.content, m.reply_to) for m in listed] == [
        (1, "one", None),
        (4, "another", None),
        (5, "waits", None),
    ]
    gone = [m for m in await desk.everything(talk.id) if m.superseded]
    assert [(m.sequence, m.content, m.author, m.reply_to) for m in gone] == [(2, "", None, None), (3, "", None, None)]
    state = await desk.store.get_conversation("ann", talk.id)
    assert (state.message_count, state.last_sequence) == (3, 5)
    assert (await desk.vectors_after("ann", "fake", 0, 10)).sequences.tolist() == [1, 4]
    assert (await desk.standing("ann")).log.deletion_counter > before.deletion_counter
    assert await desk.store.user_faults("ann", "fake", FakeEmbedder().dimension) == []
    assert await desk.store.database_faults() == []
    assert (await desk.say(talk.id, "on")).messages[0].sequence == 6


async def test_a_message_that_is_deleted_while_it_waits_to_be_embedded_is_not(desk, new_write):
    talk = await desk.conversation()
    await desk.say(talk.id, "one", "two")
    waiting = await desk.store.next_unembedded(10)
    await desk.store.delete_messages(MessageRange(talk.id, 1, 1), new_write())
    vector = NewVector(b"\0" * 2 * FakeEmbedder().dimension, b"\0" * 5)
    await desk.store.put_vectors("fake", {m.message_id: vector for m in waiting}, FakeEmbedder().dimension)
    assert (await desk.vectors_after("ann", "fake", 0, 10)).sequences.tolist() == [2]


async def test_a_summary_of_what_was_deleted_is_gone_too(desk, new_write):
    talk = await desk.conversation()
    await desk.say(talk.id, "one", "two", "three")
    summed = ConversationChange(summary=Summary("One and two.", 2))
    await desk.store.update_conversation(talk.id, summed, new_write())
    await desk.store.delete_messages(MessageRange(talk.id, 3, None), new_write())
    assert (await desk.store.get_conversation("ann", talk.id)).summary.text == "One and two."
    await desk.store.delete_messages(MessageRange(talk.id, 2, 2), new_write())
    assert (await desk.store.get_conversation("ann", talk.id)).summary == Summary("", 0)


async def test_a_conversation_of_which_nothing_is_left_to_show_is_deleted(desk, new_write):
    talk = await desk.conversation()
    await desk.say(talk.id, "one", "two")
    await desk.store.delete_messages(MessageRange(talk.id, 2, None), new_write())
    request = new_write()
    assert await desk.store.delete_messages(MessageRange(talk.id, 1, None), request) == 1
    with pytest.raises(ConversationNotFound):
        await desk.store.get_conversation("ann", talk.id)
    assert await desk.store.delete_messages(MessageRange(talk.id, 1, None), request) == 1


async def test_messages_of_another_user_are_not_there_to_be_deleted(desk, new_write):
    talk = await desk.conversation()
    await desk.say(talk.id, "one", "two")
    with pytest.raises(ConversationNotFound) as foreign:
        await desk.store.delete_messages(MessageRange(talk.id, 1, 1), new_write("bob"))
    with pytest.raises(ConversationNotFound) as unknown:
        await desk.store.delete_messages(MessageRange("nothing", 1, 1), new_write("bob"))
    assert str(foreign.value) == str(unknown.value)
    assert [m.content for m in await desk.everything(talk.id)] == ["one", "two"]


async def test_many_appends_at_once_give_each_conversation_a_contiguous_sequence(desk):
    talks = [await desk.conversation() for _ in range(4)]
    await asyncio.gather(*(desk.say(talks[i % 4].id, f"{i} a", f"{i} b") for i in range(120)))
    for number, talk in enumerate(talks):
        stored = await desk.everything(talk.id)
        assert [m.sequence for m in stored] == list(range(1, 61))
        assert sorted(m.content for m in stored) == sorted(f"{i} {x}" for i in range(number, 120, 4) for x in "ab")
        pairs = zip(stored[::2], stored[1::2], strict=True)
        assert all(a.content[:-1] == b.content[:-1] for a, b in pairs), "an append was interleaved"


async def test_a_refused_write_leaves_those_committed_with_it_alone(desk, new_write):
    talk = await desk.conversation()
    outcomes = await asyncio.gather(
        desk.say(talk.id, "one"),
        desk.say("nothing", "lost"),
        desk.store.append_messages(Append(talk.id, HELLO, expected_last_sequence=77), new_write()),
        desk.say(talk.id, "two"),
        return_exceptions=True,
    )
    assert [type(o).__name__ for o in outcomes] == ["Appended", "ConversationNotFound", "SequenceMismatch", "Appended"]
    assert [m.content for m in await desk.everything(talk.id)] == ["one", "two"]


async def test_a_write_happens_though_its_caller_has_gone(desk):
    talk = await desk.conversation()
    task = asyncio.create_task(desk.say(talk.id, "kept"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await desk.say(talk.id, "next")
    assert [m.content for m in await desk.everything(talk.id)] == ["kept", "next"]


async def test_changing_a_conversation_changes_the_named_fields_alone(desk, new_write):
    talk = await desk.store.create_conversation(ConversationDraft("old", "be kind"), new_write())
    await desk.say(talk.id, "one", "two")
    changed = await desk.store.update_conversation(
        talk.id, ConversationChange(title="новое", window_start_sequence=3), new_write()
    )
    assert (changed.title, changed.system_prompt, changed.window_start_sequence) == ("новое", "be kind", 3)
    assert changed.update_ns > talk.update_ns
    assert await desk.store.get_conversation("ann", talk.id) == changed
    with pytest.raises(InvalidArgument):
        await desk.store.update_conversation(talk.id, ConversationChange(window_start_sequence=4), new_write())
    with pytest.raises(ConversationNotFound):
        await desk.store.update_conversation(talk.id, ConversationChange(title="x"), new_write("bob"))


async def test_conversations_are_listed_most_recently_written_first_page_by_page(desk):
    talks = [await desk.conversation(title=str(i)) for i in range(5)]
    await desk.conversation("bob")
    await desk.say(talks[1].id, "again")
    titles, after = [], None
    while True:
        page = await desk.store.list_conversations("ann", 2, after)
        titles += [c.title for c in page.conversations]
        if not page.more:
            break
        after = ConversationCursor(page.conversations[-1].update_ns, page.conversations[-1].id)
    assert titles == ["1", "4", "3", "2", "0"]


async def test_a_list_is_narrowed_by_role_author_and_time(desk, new_write):
    talk = await desk.conversation()
    drafts = (
        MessageDraft(Role.SYSTEM, "s", create_ns=10),
        MessageDraft(Role.USER, "u", author="Иван", create_ns=20),
        MessageDraft(Role.USER, "v", author="Ann", create_ns=30),
    )
    await desk.store.append_messages(Append(talk.id, drafts), new_write())

    async def found(narrowing: MessageFilter) -> str:
        page = await desk.store.list_messages("ann", MessageQuery(talk.id, 50, filter=narrowing))
        return "".join(m.content for m in page.messages)

    assert await found(MessageFilter()) == "suv"
    assert await found(MessageFilter(roles=frozenset({Role.USER}))) == "uv"
    assert await found(MessageFilter(authors=frozenset({"Иван", "Bob"}))) == "u"
    assert await found(MessageFilter(start_ns=20, end_ns=30)) == "u"


async def test_a_page_ends_before_it_outgrows_an_answer(desk):
    talk = await desk.conversation()
    for _ in range(10):
        await desk.say(talk.id, "я" * 500_000)
    page = await desk.store.list_messages("ann", MessageQuery(talk.id, 50))
    assert len(page.messages) == 8
    assert page.more


async def test_an_import_keeps_what_was_exported_under_new_names(desk, new_write):
    imported = ImportedConversation(
        ConversationDraft("Сад", "будь краток"),
        100,
        200,
        2,
        (
            ImportedMessage(MessageDraft(Role.USER, "q", author="Иван", create_ns=5), None, superseded=False),
            ImportedMessage(MessageDraft(Role.ASSISTANT, "old"), 1, superseded=True),
            ImportedMessage(MessageDraft(Role.ASSISTANT, "new"), 1, superseded=False),
        ),
    )
    request = new_write()
    counts = await desk.store.import_conversations([imported], request)
    assert (counts.conversations, counts.messages) == (1, 3)
    assert await desk.store.import_conversations([imported], request) == counts
    (only,) = await desk.store.conversation_ids("ann")
    stored = await desk.store.get_conversation("ann", only)
    assert (stored.title, stored.create_ns, stored.update_ns, stored.last_sequence, stored.message_count) == (
        "Сад",
        100,
        200,
        3,
        2,
    )
    assert stored.window_start_sequence == 2
    assert [(m.content, m.reply_to, m.superseded) for m in await desk.everything(only)] == [
        ("q", None, False),
        ("old", 1, True),
        ("new", 1, False),
    ]
    assert [m.content for m in await desk.store.next_unembedded(10)] == ["q", "new"]


async def test_deleting_a_user_takes_all_of_theirs_and_nothing_of_others(desk, new_write):
    mine, other = await desk.conversation("ann"), await desk.conversation("bob")
    await desk.say(mine.id, "one", "two")
    await desk.say(other.id, "three", user_id="bob")
    await desk.embed_all(FakeEmbedder())
    request = new_write()
    counts = await desk.store.delete_user(request)
    assert (counts.conversations, counts.messages) == (1, 2)
    assert {type(counts.conversations), type(counts.messages)} == {int}
    assert await desk.store.delete_user(request) == counts
    assert await desk.store.conversation_ids("ann") == []
    assert (await desk.standing("ann")).log is None
    assert len(await desk.vectors_after("ann", "fake", 0, 10)) == 0
    assert [m.content for m in await desk.everything(other.id, "bob")] == ["three"]
    assert len(await desk.vectors_after("bob", "fake", 0, 10)) == 1


async def test_a_user_who_comes_back_after_deletion_has_another_log(desk, new_write):
    async def one_vector():
        talk = await desk.conversation()
        await desk.say(talk.id, "one")
        await desk.embed_all(FakeEmbedder())
        return (await desk.standing("ann")).log

    before = await one_vector()
    await desk.store.delete_user(new_write())
    after = await one_vector()
    assert before.last_position == after.last_position == 1
    assert before.deletion_counter != after.deletion_counter


async def test_vectors_of_messages_deleted_meanwhile_are_dropped(desk, new_write):
    talk = await desk.conversation()
    await desk.say(talk.id, "one")
    (waiting,) = await desk.store.next_unembedded(10)
    await desk.store.delete_conversation(talk.id, new_write())
    await desk.store.put_vectors("fake", {waiting.message_id: NewVector(bytes(128), b"")}, 64)
    assert len(await desk.vectors_after("ann", "fake", 0, 10)) == 0
    assert await desk.store.count_unembedded() == 0


async def test_another_embedder_gets_every_message_anew_but_no_search_waits_for_it(desk):
    talk = await desk.conversation()
    await desk.say(talk.id, "one", "two")
    await desk.embed_all(FakeEmbedder())
    await desk.store.queue_other_embedders("fake")
    assert await desk.store.count_unembedded() == 0
    await desk.store.queue_other_embedders("next")
    await desk.store.queue_other_embedders("next")
    assert await desk.store.count_unembedded() == 2
    assert (await desk.standing("ann")).last_awaited is None
    await desk.embed_all(FakeEmbedder(id="next"))
    assert len(await desk.vectors_after("ann", "fake", 0, 10)) == 0
    assert (await desk.vectors_after("ann", "next", 0, 10)).positions.tolist() == [3, 4]


async def test_a_message_that_waits_for_another_embedder_is_there_by_its_words_alone(desk):
    talk = await desk.conversation()
    await desk.say(talk.id, "one", "two")
    before, after = FakeEmbedder(id=f"before/{RECIPE}"), FakeEmbedder(id=f"after/{RECIPE}")
    await desk.embed_all(before)
    await desk.store.queue_other_embedders(after.id)
    rows = await desk.vectors_after("ann", after.id, 0, 10)
    assert (rows.positions.tolist(), rows.stored.tolist(), len(rows.vectors)) == ([1, 2], [False, False], 0)
    assert (rows.term_counts > 0).all()
    counter = (await desk.standing("ann")).log.deletion_counter
    await desk.embed_all(after)
    rows = await desk.vectors_after("ann", after.id, 0, 10)
    assert (rows.positions.tolist(), rows.stored.tolist(), rows.vectors.shape) == ([3, 4], [True, True], (2, 64))
    # Nothing has to be taken out of an index: a message that comes again has its words.
    assert (await desk.standing("ann")).log.deletion_counter == counter


async def test_a_message_that_gets_other_words_is_taken_out_of_every_index(desk):
    talk = await desk.conversation()
    await desk.say(talk.id, "one")
    (waiting,) = await desk.store.next_unembedded(10)
    counters = []
    for terms in (b"broken", pack_terms("one"), pack_terms("one")):
        await desk.store.put_vectors("fake", {waiting.message_id: NewVector(bytes(128), terms)}, 64)
        counters.append((await desk.standing("ann")).log.deletion_counter)
        await desk.store.queue_unfit("fake", 64, everything=True)
    assert counters[0] != counters[1] == counters[2]


@pytest.mark.parametrize("at_once", [1, 3, 500])
async def test_a_stretch_of_the_log_is_all_that_was_said_and_stored(desk, new_write, monkeypatch, at_once):
    monkeypatch.setattr("services.memory.store.log_rows._AT_ONCE", at_once)
    spoken = (("a", None), ("a", "Ann, of Kyiv"), ("b", "Иван"), ("a", ""), ("b", "-"), ("b", None), ("a", "2d"))
    talks = {name: await desk.conversation() for name in "ab"}
    for number, (name, author) in enumerate(spoken):
        draft = MessageDraft(Role.USER if number % 2 else Role.ASSISTANT, f"word{number} word", author, number * 10**17)
        await desk.store.append_messages(Append(talks[name].id, (draft,)), new_write())
    chance = np.random.default_rng(3)
    vectors = {i: chance.standard_normal(8).astype("<f2") for i in range(len(spoken))}
    waiting = sorted(await desk.store.next_unembedded(10), key=lambda message: message.message_id)
    words = [pack_terms(message.content) for message in waiting]
    # The last two are of a former embedder: of them only words are given.
    for embedder, some in ((f"new/{RECIPE}", range(5)), (f"old/{RECIPE}", range(5, 7))):
        stored = {waiting[i].message_id: NewVector(vectors[i].tobytes(), words[i]) for i in some}
        await desk.store.put_vectors(embedder, stored, 8)
    whole = await desk.vectors_after("ann", f"new/{RECIPE}", 0, 10)
    assert whole.message_ids.tolist() == [message.message_id for message in waiting]
    assert whole.positions.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert list(zip(whole.conversations, whole.authors, strict=True)) == [(talks[n].id, a) for n, a in spoken]
    assert whole.sequences.tolist() == [1, 2, 1, 3, 2, 3, 4]
    assert whole.roles.tolist() == [3, 2, 3, 2, 3, 2, 3]
    assert whole.times.tolist() == [number * 10**17 for number in range(7)]
    assert whole.stored.tolist() == [True] * 5 + [False] * 2
    assert np.array_equal(whole.vectors, np.stack([vectors[i] for i in range(5)]).astype(np.float32))
    assert (whole.term_counts.tolist(), whole.terms.tobytes()) == ([2] * 7, b"".join(words))
    part = await desk.vectors_after("ann", f"new/{RECIPE}", 1, 5)
    assert (part.positions.tolist(), part.stored.tolist(), len(part.vectors)) == (
        [2, 3, 4, 5, 6],
        [True] * 4 + [False],
        4,
    )


async def test_words_that_were_made_in_another_way_are_not_searched(desk):
    talk = await desk.conversation()
    await desk.say(talk.id, "one")
    await desk.embed_all(FakeEmbedder(id="before/older-words"))
    assert len(await desk.vectors_after("ann", f"after/{RECIPE}", 0, 10)) == 0


async def expiring(desk, new_write, expire_ns, user_id="ann", text="gone"):
    draft = ConversationDraft("", "", expire_ns)
    talk = await desk.store.create_conversation(draft, new_write(user_id))
    if expire_ns is None or expire_ns > time.time_ns():
        await desk.say(talk.id, text, user_id=user_id)
    return talk


async def test_a_conversation_that_has_expired_is_answered_like_one_that_does_not_exist(desk, new_write, monkeypatch):
    soon = time.time_ns() + 3_600_000_000_000
    talk, stays = await expiring(desk, new_write, soon), await expiring(desk, new_write, None, text="stays")
    assert (await desk.store.get_conversation("ann", talk.id)).expire_ns == soon
    await desk.embed_all(FakeEmbedder())
    ids = (await desk.vectors_after("ann", "fake", 0, 10)).message_ids.tolist()
    monkeypatch.setattr("services.memory.store.expiry_rows.time.time_ns", lambda: soon)
    for call in (
        desk.store.get_conversation("ann", talk.id),
        desk.say(talk.id, "more"),
        desk.everything(talk.id),
        desk.store.update_conversation(talk.id, ConversationChange(title="x"), new_write()),
        desk.store.delete_conversation(talk.id, new_write()),
    ):
        with pytest.raises(ConversationNotFound):
            await call
    assert await desk.store.conversation_ids("ann") == [stays.id]
    page = await desk.store.list_conversations("ann", 10, None)
    assert [conversation.id for conversation in page.conversations] == [stays.id]
    assert [m.content for m in (await desk.store.chosen_messages("ann", lambda _: ids)).values()] == ["stays"]


async def test_asking_for_the_log_takes_what_has_expired_out_of_the_index(desk, new_write, monkeypatch):
    soon = time.time_ns() + 3_600_000_000_000
    await expiring(desk, new_write, soon)
    await expiring(desk, new_write, None, text="stays")
    await desk.embed_all(FakeEmbedder())
    before = (await desk.standing("ann")).log
    monkeypatch.setattr("services.memory.store.expiry_rows.time.time_ns", lambda: soon)
    after = (await desk.standing("ann")).log
    assert after.deletion_counter == before.deletion_counter + 1
    assert len(await desk.vectors_after("ann", "fake", 0, 10)) == 1


async def test_an_expiration_can_be_moved_and_taken_back(desk, new_write):
    talk = await expiring(desk, new_write, time.time_ns() + 3_600_000_000_000)
    later = time.time_ns() + 7_200_000_000_000
    moved = await desk.store.update_conversation(talk.id, ConversationChange(expiry=Expiry(later)), new_write())
    assert moved.expire_ns == later
    titled = await desk.store.update_conversation(talk.id, ConversationChange(title="t"), new_write())
    assert titled.expire_ns == later
    taken_back = await desk.store.update_conversation(talk.id, ConversationChange(expiry=Expiry(None)), new_write())
    assert taken_back.expire_ns is None
    assert await desk.store.get_conversation("ann", talk.id) == taken_back


async def test_a_sweep_deletes_what_has_expired_of_all_users_and_nothing_else(desk, new_write):
    past, future = time.time_ns() - 1, time.time_ns() + 3_600_000_000_000
    for number in range(60):
        await expiring(desk, new_write, past, f"user-{number % 7}")
    kept = [await expiring(desk, new_write, future), await expiring(desk, new_write, None)]
    removed = 0
    while some := await desk.store.remove_expired(None):
        assert some <= 50
        removed += some
    assert removed == 60
    assert sorted(await desk.store.conversation_ids("ann")) == sorted(talk.id for talk in kept)
    # Nobody wrote to these since "now", so by age they go, too; `future` and None protect from nothing there.
    assert await desk.store.remove_expired(time.time_ns() + 1_000_000_000) == 2


async def test_a_conversation_that_was_written_to_just_before_the_sweep_stays(desk, new_write):
    quiet, written = await desk.conversation(), await desk.conversation()
    await desk.say(quiet.id, "old")
    since = time.time_ns()
    await desk.say(written.id, "new")
    assert await desk.store.remove_expired(since) == 1
    assert await desk.store.conversation_ids("ann") == [written.id]


async def test_a_conversation_is_one_turn_s_until_that_ends_or_its_time_has_passed(desk, monkeypatch):
    talk, elsewhere = await desk.conversation(), await desk.conversation()
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    minute = 60_000_000_000
    await desk.store.hold_turn("ann", talk.id, one, minute)
    await desk.store.hold_turn("ann", elsewhere.id, other, minute)
    await desk.store.hold_turn("ann", talk.id, one, 2 * minute)
    with pytest.raises(ConversationBusy) as refusal:
        await desk.store.hold_turn("ann", talk.id, other, minute)
    assert refusal.value.retry_after == 1.0
    # A turn that has nothing ends nothing; one that has the conversation gives it back.
    await desk.store.end_turn("ann", talk.id, other)
    with pytest.raises(ConversationBusy):
        await desk.store.hold_turn("ann", talk.id, other, minute)
    later = time.time_ns() + 2 * minute
    with monkeypatch.context() as patched:
        patched.setattr("services.memory.store.turn_rows.time.time_ns", lambda: later)
        await desk.store.hold_turn("ann", talk.id, other, minute)
    await desk.store.end_turn("ann", talk.id, other)
    await desk.store.hold_turn("ann", talk.id, one, minute)
    # Whoever appends without a turn is not hindered, and a deletion takes the turn along.
    await desk.say(talk.id, "by hand")
    for call in (desk.store.hold_turn("bob", talk.id, one, minute), desk.store.end_turn("bob", talk.id, one)):
        with pytest.raises(ConversationNotFound):
            await call


async def test_of_turns_that_want_a_conversation_at_once_one_gets_it(desk):
    talk = await desk.conversation()
    outcomes = await asyncio.gather(
        *(desk.store.hold_turn("ann", talk.id, str(uuid.uuid4()), 10**10) for _ in range(10)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(ConversationBusy) == 9
