"""A database of an earlier version is brought up to date at start, whole or not at all, and says how far it is."""

from __future__ import annotations

import shutil
import time

import pytest
from structlog.testing import capture_logs

from services.memory.message import MessageQuery
from services.memory.store import migrate

NEXT = """
import time
from alembic import op
revision = "0998"
down_revision = {before!r}

def upgrade():
    op.execute("UPDATE messages SET author = 'migrated'")
    time.sleep({seconds})
    {then}
"""


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """Makes a program that is one version ahead."""

    def make(*, seconds: float = 0.0, then: str = "pass") -> None:
        folder = tmp_path / "migrations"
        before = migrate.newest_revision()
        shutil.copytree(migrate._FOLDER, folder)
        text = NEXT.format(before=before, seconds=seconds, then=then)
        (folder / "versions" / "0998_next.py").write_text(text)
        monkeypatch.setattr(migrate, "_FOLDER", folder)

    return make


@pytest.fixture
async def earlier(open_store, new_write):
    """A database of the version before, with a message in it; returns its conversation."""
    from services.memory.conversation import ConversationDraft
    from services.memory.message import Append, MessageDraft, Role

    store = await open_store()
    talk = await store.create_conversation(ConversationDraft("t", ""), new_write())
    await store.append_messages(Append(talk.id, (MessageDraft(Role.USER, "one"),)), new_write())
    await store.close()
    return talk


async def test_an_earlier_database_is_brought_up_to_date_with_all_that_it_holds(open_store, earlier, next_version):
    next_version()
    store = await open_store()
    (message,) = (await store.list_messages("ann", MessageQuery(earlier.id, 10))).messages
    assert (message.content, message.author) == ("one", "migrated")
    await store.close()
    store = await open_store()
    await store.close()


async def test_a_migration_that_fails_leaves_the_database_as_it_was(open_store, earlier, next_version, monkeypatch):
    with monkeypatch.context() as newer:
        folder = migrate._FOLDER
        next_version(then="raise RuntimeError('no')")
        with pytest.raises(RuntimeError, match="no"):
            await open_store()
        newer.setattr(migrate, "_FOLDER", folder)
        store = await open_store()
        (message,) = (await store.list_messages("ann", MessageQuery(earlier.id, 10))).messages
        assert message.author is None
        await store.close()


async def test_a_long_migration_says_how_far_it_is(open_store, earlier, next_version, monkeypatch):
    monkeypatch.setattr("services.memory.store.progress._EVERY_SECONDS", 0.02)
    before = migrate.newest_revision()
    next_version(seconds=0.3)
    began = time.monotonic()
    with capture_logs() as lines:
        store = await open_store()
    await store.close()
    told = [line for line in lines if line["event"] == "migrating the database"]
    assert {"at": before, "goal": "0998", "log_level": "info"}.items() <= told[0].items()
    assert 0 <= told[0]["seconds"] <= time.monotonic() - began + 1
