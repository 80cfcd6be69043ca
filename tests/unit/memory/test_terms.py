"""Texts to terms."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.memory.terms import MOST_TERMS, RECORD, pack_terms, query_terms, term, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("paintings", "Painted"),
        ("Caroline’s", "caroline"),
        ("помидоры", "помидоров"),
        ("собаку", "СОБАКА"),
        ("ёлка", "елки"),
        ("ﬁsh", "fish"),
        ("May", "may"),
        ("мая", "май"),
        ("2023", "２０２３"),
    ],
)
def test_forms_of_a_word_are_one_term(one, other):
    assert pack_terms(one) == pack_terms(other)
    assert query_terms(one) == query_terms(other)


@pytest.mark.parametrize("query", ['boat" OR "x', "boat* NEAR(x)", "-boat +x ^ { } : ( ) x", "boat\u0000x", "boat_x"])
def test_operators_and_punctuation_are_text(query):
    assert {*query_terms("boat x")} <= {*query_terms(query)}
    assert {*query_terms(query)} <= {*query_terms("boat x or near")}


def test_words_that_tell_nothing_are_left_out_unless_there_are_no_others():
    assert query_terms("What is the name of my boat?") == query_terms("name boat")
    assert query_terms("Как же ее зовут") == query_terms("зовут")
    assert len(query_terms("to be or not to be")) == 4
    assert query_terms("🙂 …!") == []


def test_of_a_long_query_the_first_words_are_looked_for():
    query = " ".join(f"w{number}" for number in range(100_000))
    assert query_terms(query) == query_terms(" ".join(f"w{number}" for number in range(MOST_TERMS)))


def test_a_term_is_stored_once_with_its_count_and_at_most_255():
    (record,) = np.frombuffer(pack_terms("boat Boats BOAT"), dtype=RECORD)
    assert record["count"] == 3
    (record,) = np.frombuffer(pack_terms("boat " * 1000), dtype=RECORD)
    assert record["count"] == 255
    assert pack_terms("") == b""


def test_threads_at_once_get_what_one_gets():
    texts = [
        " ".join(f"{word}{'ing' * (i % 2)} {word}ами" for word in ("walk", "nation", "книг")) + f" q{i}w"
        for i in range(300)
    ]
    expected = [pack_terms(text) for text in texts]
    term.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(pack_terms, texts)) == expected


@given(st.text(max_size=60))
def test_any_text_has_terms_and_what_is_stored_is_in_order(text):
    stored = np.frombuffer(pack_terms(text), dtype=RECORD)["term"]
    assert (np.diff(stored.astype(np.int64)) > 0).all()
    assert {*query_terms(text)} <= {int(term) for term in stored}
    assert len(stored) <= len(words(text))
