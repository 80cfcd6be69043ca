"""Which of several messages is the better evidence, where the query itself does not tell."""

from __future__ import annotations

import numpy as np
import pytest

from services.memory.index import UserIndex
from services.memory.index_query import IndexQuery, Scored
from services.memory.terms import pack_terms
from services.memory.vector import LogStretch, StoredVector

UNITS = np.eye(6, dtype=np.float32)
CHATTER = "oh that is really so nice of you to say"


def between(one: int, other: int) -> np.ndarray:
    return (UNITS[one] + UNITS[other]) / np.float32(np.sqrt(2))


def searched(*told: tuple[str, str, np.ndarray], asked: np.ndarray = UNITS[0]) -> dict[str, Scored]:
    """Returns hits by text, the best first.

    Args:
        told: Conversation, text and vector of each message, in order.
        asked: The query's vector.
    """
    index = UserIndex(len(UNITS), 0)
    index.add(
        LogStretch.of(
            [
                StoredVector(i, i, conversation, i, 1, None, 0, vector.astype("<f2").tobytes(), pack_terms(text))
                for i, (conversation, text, vector) in enumerate(told, start=1)
            ]
        )
    )
    return {told[hit.message_id - 1][1]: hit for hit in index.search(IndexQuery(asked, (), 100))}


def test_what_everybody_says_is_behind_what_only_one_has_said_however_long():
    chatter = [(f"c{i}", f"{CHATTER} {'again ' * (i % 3)}".strip(), UNITS[1]) for i in range(9)]
    found = searched(*chatter, ("c9", "sold the boat", UNITS[1]))
    assert next(iter(found)) == "sold the boat"
    assert found["sold the boat"].prior > 0 > found[CHATTER].prior


def test_a_long_message_is_not_preferred_to_one_that_is_long_enough_and_as_rich():
    long, enough = (" ".join(f"w{part}x{i}" for i in range(count)) for part, count in ((1, 320), (2, 32)))
    found = searched(("a", long, UNITS[1]), ("b", enough, UNITS[1]), ("c", "so nice", UNITS[1]))
    assert found[long].prior == pytest.approx(found[enough].prior)


def test_of_a_few_messages_that_say_nearly_as_much_none_is_preferred_by_far():
    texts = ("tomatoes grow", "trains leave", "tomatoes ripen", "days pass")
    priors = [hit.prior for hit in searched(*(("a", text, UNITS[1]) for text in texts)).values()]
    assert max(priors) - min(priors) < 0.5


def test_of_two_as_similar_to_the_query_the_one_less_like_all_the_others_is_first():
    others = [(f"c{i}", f"other {i}", UNITS[1]) for i in range(8)]
    found = searched(*others, ("x", "like others", between(0, 1)), ("y", "unlike others", between(0, 2)))
    one, other = found["unlike others"], found["like others"]
    assert one.similarity == other.similarity == pytest.approx(0.5**0.5, abs=1e-3)
    assert one.dense > other.dense


def test_what_stands_next_to_a_message_counts_and_what_stands_next_but_one_counts_less():
    elsewhere = [(f"c{i}", f"elsewhere {i}", UNITS[3]) for i in range(8)]
    talk = [("talk", text, UNITS[0 if text == "evidence" else 3]) for text in ("far", "but one", "next", "evidence")]
    found = searched(*elsewhere, *talk)
    dense = [found[text].dense for text in ("evidence", "next", "but one", "far")]
    assert dense == sorted(dense, reverse=True)
    assert len(set(dense)) == len(dense)
    assert found["far"].dense == pytest.approx(found["elsewhere 0"].dense, abs=1e-5)


@pytest.mark.parametrize("vocabulary", [0, 1, 60])
def test_an_index_that_grew_weighs_messages_as_one_that_was_loaded_whole(vocabulary):
    numbers = np.random.default_rng(2)
    rows = [
        StoredVector(
            i,
            i,
            "talk",
            i,
            1,
            None,
            0,
            UNITS[i % 5].astype("<f2").tobytes(),
            pack_terms(" ".join(f"w{n}" for n in numbers.integers(max(vocabulary, 1), size=i % 7) if vocabulary)),
        )
        for i in range(1, 200)
    ]
    whole, grown = UserIndex(len(UNITS), 0), UserIndex(len(UNITS), 0)
    whole.add(LogStretch.of(rows))
    wanted = IndexQuery(UNITS[0], (), 200)
    for row in rows:
        grown.add(LogStretch.of([row]))
        grown.search(wanted)
    assert grown.search(wanted) == whole.search(wanted)
