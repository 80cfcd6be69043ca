"""A thousand users' random operations, on each database, against a model in plain Python.

All examples share one database, and each has users of its own: what the users of the examples before left is there
when the next ones write, read, search and delete, and is compared once more at the end. On PostgreSQL two services
share the database, and each operation goes through either.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from pydantic import SecretStr

from services.memory.conversation import (
    ConversationChange,
    ConversationCursor,
    ConversationDraft,
    ImportedConversation,
    ImportedMessage,
)
from services.memory.embedder import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.message import Append, MessageDraft, MessageFilter, MessageQuery, Role
from services.memory.search import SearchQuery
from services.memory.service import MemoryService
from services.memory.settings import MemorySettings
from services.memory.store import WriteRequest
from services.rpc.errors import ConversationNotFound, SequenceMismatch

USERS_AN_EXAMPLE = 40
EXAMPLES = 25
# Low numbers are drawn again and again, so that a user comes to hold something.
NUMBERS = st.integers(0, 3) | st.integers(0, USERS_AN_EXAMPLE - 1)
TEXTS = st.lists(st.sampled_from(["сад", "tomato", "train", "сад tomato", "violin"]), min_size=1, max_size=4)
ROLES = st.sampled_from(list(Role))


@dataclass
class Line:
    """A message of the model."""

    text: str
    role: Role
    time: int
    superseded: bool = False


@dataclass
class Talk:
    """A conversation of the model."""

    title: str
    lines: list[Line] = field(default_factory=list)


class World:
    """The services, and what they must hold: conversations by user."""

    def __init__(self, chosen: MemorySettings, services: int) -> None:
        self.runner = asyncio.Runner()
        self.chosen = chosen
        self.count = services
        self.model: dict[str, dict[str, Talk]] = {}
        self.example = itertools.count()
        self.clock = itertools.count(1)
        self.rooms = []
        self.runner.run(self.open())

    async def open(self):
        self.services = [
            MemoryService(self.chosen, EmbedderThreads(FakeEmbedder(dimension=16))) for _ in range(self.count)
        ]
        for service in self.services:
            await service.start()
        self.rooms = [service._servicer.rooms for service in self.services]

    async def shut(self):
        for service in self.services:
            await service.stop()

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def close(self):
        self.run(self.shut())
        self.runner.close()

    async def check_lists(self, user, store):
        talks = self.model[user]
        assert sorted(await store.conversation_ids(user)) == sorted(talks)
        for name, talk in talks.items():
            stored = await store.get_conversation(user, name)
            live = sum(not line.superseded for line in talk.lines)
            assert (stored.title, stored.last_sequence, stored.message_count) == (talk.title, len(talk.lines), live)
            page = await store.list_messages(user, MessageQuery(name, 1000, include_superseded=True))
            told = [Line(m.content, m.role, m.create_ns, m.superseded) for m in page.messages]
            assert told == talk.lines
            assert [m.sequence for m in page.messages] == list(range(1, len(told) + 1))

    async def check_all(self, users, store):
        await asyncio.gather(*(self.check_lists(user, store) for user in users))


class Users(RuleBasedStateMachine):
    """One example: users of its own, in the world of all."""

    world: World

    def __init__(self):
        super().__init__()
        number = next(self.world.example)
        self.users = [f"user-{number}-{i}" for i in range(USERS_AN_EXAMPLE)]
        self.world.model.update({user: {} for user in self.users})
        self.done: list[tuple[Append, WriteRequest]] = []

    def room(self, data):
        return data.draw(st.sampled_from(self.world.rooms))

    def request(self, user):
        return WriteRequest(user, str(uuid.uuid4()), b"")

    def talk(self, data, user):
        """One of the user's conversations; a new one where there is none."""
        talks = self.world.model[user]
        if not talks:
            self.create(data, user, "first")
        # In the order in which they began: names are random, and an example must be the same when it is run again.
        return data.draw(st.sampled_from(list(talks)))

    def create(self, data, user, title):
        draft = ConversationDraft(title, "")
        made = self.world.run(self.room(data).store.create_conversation(draft, self.request(user)))
        self.world.model[user][made.id] = Talk(title)

    @rule(data=st.data(), number=NUMBERS, title=st.sampled_from(["", "Сад", "train"]))
    def start(self, data, number, title):
        self.create(data, self.users[number], title)

    @rule(data=st.data(), number=NUMBERS, texts=TEXTS, role=ROLES)
    def append(self, data, number, texts, role):
        back, off = data.draw(st.none() | st.integers(1, 6)), data.draw(st.integers(0, 3))
        user = self.users[number]
        name = self.talk(data, user)
        lines = self.world.model[user][name].lines
        new = [Line(text, role, next(self.world.clock)) for text in texts]
        drafts = tuple(MessageDraft(line.role, line.text, create_ns=line.time) for line in new)
        # Mostly right, at times wrong by one or two.
        expected = max(0, len(lines) - max(0, off - 1)) if off else None
        append, request = Append(name, drafts, expected, back), self.request(user)
        if expected not in (None, len(lines)):
            with pytest.raises(SequenceMismatch):
                self.world.run(self.room(data).store.append_messages(append, request))
            return
        self.world.run(self.room(data).store.append_messages(append, request))
        for line in lines[(back or 1_000) - 1 :]:
            line.superseded = True
        lines += new
        self.done.append((append, request))

    @rule(data=st.data())
    def repeat(self, data):
        if not self.done:
            return
        append, request = data.draw(st.sampled_from(self.done))
        again = self.room(data).store.append_messages(append, request)
        if append.conversation_id in self.world.model[request.user_id]:
            assert self.world.run(again).replayed
        else:
            with pytest.raises(ConversationNotFound):
                self.world.run(again)

    @rule(data=st.data(), number=NUMBERS, title=st.sampled_from(["x", "Поезд"]))
    def rename(self, data, number, title):
        user = self.users[number]
        name = self.talk(data, user)
        change = ConversationChange(title=title)
        self.world.run(self.room(data).store.update_conversation(name, change, self.request(user)))
        self.world.model[user][name].title = title

    @rule(data=st.data(), number=NUMBERS, texts=TEXTS)
    def take_in(self, data, number, texts):
        user = self.users[number]
        lines = [Line(text, Role.USER, next(self.world.clock)) for text in texts]
        messages = tuple(ImportedMessage(MessageDraft(m.role, m.text, create_ns=m.time), None, False) for m in lines)
        imported = ImportedConversation(ConversationDraft("in", ""), None, None, 1, messages)
        self.world.run(self.room(data).store.import_conversations([imported], self.request(user)))
        (name,) = set(self.world.run(self.room(data).store.conversation_ids(user))) - set(self.world.model[user])
        self.world.model[user][name] = Talk("in", lines)

    @rule(data=st.data(), number=NUMBERS)
    def delete(self, data, number):
        user = self.users[number]
        name = self.talk(data, user)
        self.world.run(self.room(data).store.delete_conversation(name, self.request(user)))
        del self.world.model[user][name]

    @rule(data=st.data(), number=NUMBERS)
    def expire(self, data, number):
        user = self.users[number]
        draft = ConversationDraft("gone", "", time.time_ns() - 1)
        self.world.run(self.room(data).store.create_conversation(draft, self.request(user)))

    @rule(data=st.data(), number=NUMBERS)
    def forget(self, data, number):
        user = self.users[number]
        counts = self.world.run(self.room(data).store.delete_user(self.request(user)))
        talks = self.world.model[user]
        assert (counts.conversations, counts.messages) == (len(talks), sum(len(t.lines) for t in talks.values()))
        self.world.model[user] = {}

    @rule(data=st.data(), number=NUMBERS, other=NUMBERS)
    def pry(self, data, number, other):
        """What is another's is like what is not there, to every call."""
        if number == other:
            return
        name, user = self.talk(data, self.users[number]), self.users[other]
        store = self.room(data).store
        append = Append(name, (MessageDraft(Role.USER, "mine now"),))
        for call in (
            store.get_conversation(user, name),
            store.list_messages(user, MessageQuery(name, 10)),
            store.append_messages(append, self.request(user)),
            store.update_conversation(name, ConversationChange(title="mine"), self.request(user)),
            store.delete_conversation(name, self.request(user)),
            self.room(data).searcher.search(user, SearchQuery("tomato", 10, name)),
        ):
            with pytest.raises(ConversationNotFound):
                self.world.run(call)

    @rule(data=st.data(), number=NUMBERS, newest=st.booleans(), size=st.integers(1, 3), role=st.none() | ROLES)
    def page(self, data, number, newest, size, role):
        user = self.users[number]
        name = self.talk(data, user)
        lines = self.world.model[user][name].lines
        start = lines[len(lines) // 2].time if lines else None
        narrowing = MessageFilter(frozenset() if role is None else frozenset({role}), start_ns=start)
        wanted = [m for m in lines if not m.superseded and role in (None, m.role) and m.time >= (start or 0)]
        told, after, more = [], None, True
        while more:
            query = MessageQuery(name, size, newest, narrowing, after=after)
            answer = self.world.run(self.room(data).store.list_messages(user, query))
            told += [m.content for m in answer.messages]
            more = answer.more
            after = answer.messages[-1].sequence if answer.messages else None
        assert told == [m.text for m in (reversed(wanted) if newest else wanted)]

    @rule(data=st.data(), number=NUMBERS, size=st.integers(1, 3))
    def conversations(self, data, number, size):
        user, told, after, more = self.users[number], [], None, True
        while more:
            answer = self.world.run(self.room(data).store.list_conversations(user, size, after))
            told += answer.conversations
            more = answer.more
            after = ConversationCursor(told[-1].update_ns, told[-1].id) if told else None
        assert sorted(c.id for c in told) == sorted(self.world.model[user])
        assert told == sorted(told, key=lambda c: (c.update_ns, c.id), reverse=True)

    @rule(data=st.data(), number=NUMBERS, query=TEXTS)
    def search(self, data, number, query):
        user = self.users[number]
        live = {
            (name, sequence): line.text
            for name, talk in self.world.model[user].items()
            for sequence, line in enumerate(talk.lines, start=1)
            if not line.superseded
        }
        hits = self.world.run(self.room(data).searcher.search(user, SearchQuery(" ".join(query), 1000)))
        found = [(h.message.conversation_id, h.message.sequence) for h in hits]
        assert len(set(found)) == len(found)
        assert {place: hit.message.content for place, hit in zip(found, hits, strict=True)} == live

    @rule(data=st.data())
    def compare(self, data):
        self.world.run(self.world.check_all(self.users, self.room(data).store))

    @precondition(lambda self: len(self.done) % 4 == 3)
    @rule()
    def restart(self):
        self.world.run(self.world.shut())
        self.world.run(self.world.open())


@pytest.fixture
def world(backend, request, tmp_path):
    url = SecretStr(request.getfixturevalue("postgres_url")) if backend == "postgres" else None
    made = World(MemorySettings(data_dir=tmp_path, database_url=url, database_connections=4), 1 if url is None else 2)
    yield made
    made.close()


def test_random_operations_of_a_thousand_users_leave_what_the_model_holds(world):
    machine = type("UsersOfThisWorld", (Users,), {"world": world})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert len(world.model) >= 1_000
    world.run(world.check_all(world.model, world.rooms[0].store))
