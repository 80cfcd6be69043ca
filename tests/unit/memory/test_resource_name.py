"""Resource names, well-formed and not."""

from __future__ import annotations

import pytest

from services.memory.resource_name import MessageName, conversation_name, parse_conversation, parse_message
from services.rpc.errors import InvalidArgument


def test_names_are_read_as_they_are_written():
    assert parse_conversation("name", conversation_name("a1-_")) == "a1-_"
    assert parse_message("name", str(MessageName("c", 17))) == MessageName("c", 17)


@pytest.mark.parametrize(
    "name",
    ["", "c", "conversations/", "conversations/a/b", "conversations/ü", "conversations/a\n", "x/conversations/a"],
)
def test_a_malformed_conversation_name_is_refused_with_the_right_form(name):
    with pytest.raises(InvalidArgument, match=r"conversation must have the form conversations/\{conversation\}"):
        parse_conversation("conversation", name)


@pytest.mark.parametrize("name", ["conversations/a", "conversations/a/messages/", "conversations/a/messages/1/2"])
def test_a_malformed_message_name_is_refused_with_the_right_form(name):
    with pytest.raises(InvalidArgument, match="must have the form conversations/"):
        parse_message("reply_to", name)


@pytest.mark.parametrize("sequence", ["0", "01", "x", "9" * 60])
def test_a_well_formed_name_of_no_message_names_none(sequence):
    assert parse_message("reply_to", f"conversations/a/messages/{sequence}").sequence == 0
