"""Store and search against a model in plain Python: any order of appends, deletions and searches by a few users."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.memory.conversation import ConversationDraft
from services.memory.embedder import FakeEmbedder
from services.memory.embedder.threads import EmbedderThreads
from services.memory.embedding_queue import EmbeddingQueue
from services.memory.index_cache import IndexCache
from services.memory.message import Append, MessageDraft, MessageQuery, MessageRange, Role
from services.memory.search import Searcher, SearchQuery
from services.memory.store import WriteRequest, open_sqlite_store

USERS = st.sampled_from(["ann", "bob"])
TEXTS = st.lists(st.sampled_from(["сад", "tomato", "train", "сад tomato", "violin"]), min_size=1, max_size=4)
EMBEDDER = FakeEmbedder(dimension=32)


class Memory(RuleBasedStateMachine):
    """The model: conversations by user, each a list of [text, superseded]."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[str, dict[str, list[list]]] = {"ann": {}, "bob": {}}
        self.last: tuple | None = None
        self.runner.run(self._open())

    async def _open(self):
        self.store = await open_sqlite_store(Path(self.folder.name) / "memory.db")
        self.thread = EmbedderThreads(EMBEDDER, 8)
        self.queue = EmbeddingQueue(self.store, self.thread, 8)
        indexes = IndexCache(self.store, self.thread.facts.id, self.thread.facts.dimension, 4_000)
        self.searcher = Searcher(self.store, self.thread, self.queue, indexes, 30)

    async def _close(self):
        await self.queue.close()
        await self.thread.close()
        await self.store.close()

    def teardown(self):
        self.runner.run(self._close())
        self.runner.close()
        self.folder.cleanup()

    def request(self, user):
        return WriteRequest(user, str(uuid.uuid4()), b"")

    def chosen(self, data, user):
        return data.draw(st.sampled_from(list(self.model[user])))

    @rule(user=USERS)
    def create(self, user):
        made = self.runner.run(self.store.create_conversation(ConversationDraft("", ""), self.request(user)))
        self.model[user][made.id] = []

    @rule(user=USERS, texts=TEXTS, supersede=st.none() | st.integers(1, 6), data=st.data())
    def append(self, user, texts, supersede, data):
        if not self.model[user]:
            return
        talk = self.chosen(data, user)
        drafts = tuple(MessageDraft(Role.USER, text) for text in texts)
        request = self.request(user)
        append = Append(talk, drafts, supersede_from_sequence=supersede)
        self.runner.run(self.store.append_messages(append, request))
        for message in self.model[user][talk][(supersede or 1_000) - 1 :]:
            message[1] = True
        for text in texts:
            self.model[user][talk].append([text, False])
        self.last = (append, request)

    @precondition(lambda self: self.last is not None)
    @rule()
    def repeat(self):
        append, request = self.last
        if append.conversation_id in self.model[request.user_id]:
            assert self.runner.run(self.store.append_messages(append, request)).replayed

    @rule(user=USERS, data=st.data())
    def delete(self, user, data):
        if not self.model[user]:
            return
        talk = self.chosen(data, user)
        self.runner.run(self.store.delete_conversation(talk, self.request(user)))
        del self.model[user][talk]

    @rule(user=USERS, start=st.integers(1, 6), end=st.none() | st.integers(1, 6), data=st.data())
    def delete_messages(self, user, start, end, data):
        if not self.model[user]:
            return
        talk = self.chosen(data, user)
        messages = self.model[user][talk]
        inside = messages[start - 1 : end]
        shown = sum(not superseded for _, superseded in inside)
        left = sum(not superseded for _, superseded in messages) - shown
        count = self.runner.run(self.store.delete_messages(MessageRange(talk, start, end), self.request(user)))
        assert count == shown
        for message in inside:
            message[:] = ["", True]
        if shown and not left:
            del self.model[user][talk]

    @rule(user=USERS)
    def delete_user(self, user):
        counts = self.runner.run(self.store.delete_user(self.request(user)))
        assert counts.conversations == len(self.model[user])
        assert counts.messages == sum(map(len, self.model[user].values()))
        self.model[user] = {}

    @rule()
    def restart(self):
        self.runner.run(self._close())
        self.runner.run(self._open())

    @rule(user=USERS, query=TEXTS, limit=st.integers(1, 8))
    def search(self, user, query, limit):
        text = " ".join(query)
        hits = self.runner.run(self.searcher.search(user, SearchQuery(text, limit)))
        live = [
            (talk, sequence, content)
            for talk, messages in self.model[user].items()
            for sequence, (content, superseded) in enumerate(messages, start=1)
            if not superseded
        ]
        found = [(hit.message.conversation_id, hit.message.sequence, hit.message.content) for hit in hits]
        # How hits are ranked is held against plain Python in test_index.
        assert len(set(found)) == len(found) == min(limit, len(live))
        assert set(found) <= set(live)
        scores = [hit.scored.dense + hit.scored.lexical + hit.scored.prior for hit in hits]
        assert scores == sorted(scores, reverse=True)
        for hit in hits:
            assert (hit.scored.word_share > 0) is not set(text.split()).isdisjoint(hit.message.content.split())

    @invariant()
    def lists_are_the_models(self):
        for user, talks in self.model.items():
            assert sorted(self.runner.run(self.store.conversation_ids(user))) == sorted(talks)
            for talk, messages in talks.items():
                page = self.runner.run(
                    self.store.list_messages(user, MessageQuery(talk, 1000, include_superseded=True))
                )
                assert [[m.content, m.superseded] for m in page.messages] == messages


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
