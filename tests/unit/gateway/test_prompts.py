"""How the inference service learns of prompts that begin alike."""

from __future__ import annotations

from services.gateway.peers import Prompts


def test_a_conversation_has_a_key_that_nobody_else_has_and_goes_to_one_replica():
    mine = Prompts.of("ann", "conversations/c")
    assert mine == Prompts.of("ann", "conversations/c")
    assert mine.cache_key not in {Prompts.of("bob", "conversations/c").cache_key, Prompts.of("ann", "").cache_key}
    assert mine.pin == "conversations/c"


def test_conversations_that_have_no_name_yet_do_not_all_go_to_one_replica():
    assert Prompts.of("ann", "").pin != Prompts.of("bob", "").pin
