"""Page tokens cannot be forged or taken elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.memory.page_token import PageTokens
from services.rpc.errors import InvalidPageToken

TOKENS = PageTokens(b"k" * 32)
LISTING = ("messages", "ann", "c1", False, [], ["Иван"], None, None, 0, False)


@given(st.binary(max_size=80))
def test_a_token_gives_back_its_place_for_its_own_list(place):
    assert TOKENS.read(TOKENS.make(place, LISTING), LISTING) == place


@given(st.text(max_size=60))
def test_what_was_not_given_is_refused(token):
    with pytest.raises(InvalidPageToken):
        TOKENS.read(token, LISTING)


@given(st.integers(0, 31), st.sampled_from("Aa0_"))
def test_a_changed_token_is_refused(at, character):
    token = TOKENS.make(b"12345678", LISTING)
    forged = token[:at] + character + token[at + 1 :]
    if forged != token:
        with pytest.raises(InvalidPageToken) as refusal:
            TOKENS.read(forged, LISTING)
        assert refusal.value.violations[0].field == "page_token"


@pytest.mark.parametrize("at", range(len(LISTING)))
def test_a_token_is_good_for_no_other_list(at):
    other = (*LISTING[:at], "another", *LISTING[at + 1 :])
    with pytest.raises(InvalidPageToken):
        TOKENS.read(TOKENS.make(b"1", LISTING), other)


def test_a_token_of_another_key_is_refused():
    with pytest.raises(InvalidPageToken):
        TOKENS.read(PageTokens(b"q" * 32).make(b"1", LISTING), LISTING)
