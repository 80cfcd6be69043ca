"""Guesses at what comes next in a reply."""

from __future__ import annotations

from array import array
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from services.inference.engine.drafts import Drafts, guess
from services.inference.engine.mailbox import Mailbox
from services.inference.engine.scheduler import Work
from services.inference.engine.sequence import Sequence
from services.inference.engine.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.protocol import EngineRequest

    Working = Callable[..., Work]

VOCABULARY = Vocabulary(Tokenizer(models.WordLevel({"a": 0})))
SAID = (1, 2, 3, 4, 5, 6, 7, 8, 1, 2)
"""After its end come 3, 4, 5, 6, 7, 8, 1."""


@pytest.fixture
def working(ask: Callable[..., EngineRequest]) -> Working:
    """Makes the work of a reply whose prompt has been read; `new` tokens of it have not."""

    def make(prompt: tuple[int, ...], *, new: int = 1, most: int = 100, held: bool = False) -> Work:
        sequence = Sequence(ask(prompt, max_tokens=most), Mailbox(), VOCABULARY)
        sequence.draft_held = held
        return Work(sequence, len(prompt) - new, len(prompt))

    return make


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param(SAID, (3, 4, 5), id="what followed before"),
        pytest.param((1, 2, 3, 1, 2, 4, 1, 2), (4, 1, 2), id="the last time"),
        pytest.param((9, 1, 2, 3, 1, 2, 4, 9, 1, 2), (3, 1, 2), id="where more is alike"),
        pytest.param((7, 8, 9, 1, 2, 3, 6, 8, 9, 1, 2, 4, 7, 8, 9, 1, 2), (4, 7, 8), id="the last where four are"),
        pytest.param((1, 2, 1, 2), (1, 2, 1), id="what repeats goes on"),
        pytest.param((5, 5, 5), (5, 5, 5), id="one token again and again"),
        pytest.param((1, 2, 3, 4), (), id="nothing new is guessed"),
        pytest.param((1, 2, 3, 2), (), id="one token alike is not enough"),
        pytest.param((1, 1), (), id="too short"),
        pytest.param((), (), id="empty"),
    ],
)
def test_what_followed_the_last_tokens_before_is_guessed(said: tuple[int, ...], expected: tuple[int, ...]):
    assert guess(array("q", said), 3) == expected


def test_no_more_is_guessed_than_asked_for():
    assert [guess(array("q", SAID), most) for most in (-1, 0, 1, 2)] == [(), (), (3,), (3, 4)]


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 8))
def test_a_guess_is_what_would_come_if_the_text_went_on_as_it_did(said: list[int], most: int):
    draft = guess(array("q", said), most)
    pairs = list(pairwise(said))
    assert bool(draft) == (bool(pairs) and pairs[-1] in pairs[:-1])
    if draft:
        assert len(draft) == most
        whole = [*said, *draft]
        places = range(2, len(said))
        assert any(
            said[p - 2 : p] == said[-2:] and all(whole[p + n] == whole[len(said) + n] for n in range(most))
            for p in places
        )


def test_a_text_that_was_looked_at_can_grow():
    said = array("q", SAID)
    guess(said, 1)
    said.append(3)
    assert guess(said, 1) == (4,)


async def test_three_are_guessed_and_more_once_all_proved_right(working: Working):
    drafts = Drafts(7, 1000)
    for held, expected in ((False, (3, 4, 5)), (True, (3, 4, 5, 6, 7, 8, 1))):
        (work,) = drafts.add_to([working(SAID, held=held)])
        assert work.draft == expected


async def test_no_more_are_guessed_than_set(working: Working):
    for most in (0, 1, 2):
        (work,) = Drafts(most, 1000).add_to([working(SAID, held=True)])
        assert len(work.draft) == most


async def test_replies_share_what_is_guessed(working: Working):
    def sizes(*works: Work) -> list[int]:
        return [len(work.draft) for work in Drafts(7, 1000).add_to(list(works))]

    assert sizes(working(SAID), working(SAID)) == [1, 1]
    assert sizes(*[working(SAID)] * 3) == [1, 0, 0]
    assert sizes(*[working(SAID)] * 4) == [0] * 4
    assert sizes(*[working(SAID, held=True)] * 4) == [1] * 4
    assert sizes(*[working(SAID, held=True)] * 8) == [0] * 8
    # Who finds nothing leaves it to the others.
    assert sizes(working((1, 2, 3, 4)), working(SAID)) == [0, 2]
    assert sizes(working(SAID), working(SAID, held=True)) == [1, 5]


async def test_a_step_that_reads_a_prompt_guesses_nothing(working: Working):
    long = working((*range(10, 30), *SAID), new=20)
    assert [work.draft for work in Drafts(7, 1000).add_to([working(SAID, held=True), long])] == [(), ()]
    # Nor after a part of one: what comes next is known.
    part = working((*SAID, 9), new=3)
    part = Work(part.sequence, part.begin, part.end - 1)
    assert [work.draft for work in Drafts(7, 1000).add_to([part])] == [()]


async def test_nothing_is_guessed_beyond_the_end_of_the_reply_or_of_the_context(working: Working):
    # The token after the last needs no guess, for it is not computed.
    for most, guessed in ((1, 0), (2, 1), (3, 2), (9, 3)):
        (work,) = Drafts(3, 1000).add_to([working(SAID, most=most)])
        assert len(work.draft) == guessed
        (work,) = Drafts(3, len(SAID) + most).add_to([working(SAID)])
        assert len(work.draft) == guessed
