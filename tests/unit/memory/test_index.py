"""Exactness of a user's index, with and without filters, against brute force in numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.memory.index import UserIndex
from services.memory.message import NO_FILTER, MessageFilter, MessageRange, Role
from services.memory.vector import StoredVector

DIMENSION = 8
AUTHORS = (None, "Иван", "Ann")


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# Few different directions, so that equal scores are common.
DIRECTIONS = unit(np.random.default_rng(1).standard_normal((6, DIMENSION)))

stored = st.builds(
    lambda direction, conversation, role, author, time: (direction, conversation, role, author, time),
    st.integers(0, len(DIRECTIONS) - 1),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(list(Role)),
    st.sampled_from(AUTHORS),
    st.integers(0, 20),
)
filters = st.builds(
    MessageFilter,
    st.frozensets(st.sampled_from(list(Role)), max_size=2),
    st.frozensets(st.sampled_from(["Иван", "Ann", "Nobody"]), max_size=2),
    st.none() | st.integers(0, 20),
    st.none() | st.integers(0, 20),
)
ranges = st.builds(MessageRange, st.sampled_from(["a", "b", "x"]), st.integers(0, 30), st.none() | st.integers(0, 30))


def rows_of(items) -> list[StoredVector]:
    sequence_of: dict[str, int] = {}
    rows = []
    for number, (direction, conversation, role, author, time) in enumerate(items, start=1):
        sequence_of[conversation] = sequence_of.get(conversation, 0) + 1
        vector = DIRECTIONS[direction].astype("<f2").tobytes()
        rows.append(
            StoredVector(number * 3, number, conversation, sequence_of[conversation], int(role), author, time, vector)
        )
    return rows


def passes(row: StoredVector, conversation, narrowing: MessageFilter, exclude) -> bool:
    return (
        (conversation is None or row.conversation_id == conversation)
        and (not narrowing.roles or row.role in narrowing.roles)
        and (not narrowing.authors or row.author in narrowing.authors)
        and (narrowing.start_ns is None or row.create_ns >= narrowing.start_ns)
        and (narrowing.end_ns is None or row.create_ns < narrowing.end_ns)
        and not any(
            row.conversation_id == r.conversation_id
            and r.start_sequence <= row.sequence
            and (r.end_sequence is None or row.sequence <= r.end_sequence)
            for r in exclude
        )
    )


searches = st.tuples(
    st.integers(0, len(DIRECTIONS) - 1),
    st.integers(1, 12),
    st.none() | st.sampled_from(["a", "b", "x"]),
    filters,
    st.lists(ranges, max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(stored, max_size=40), st.integers(0, 40), searches)
def test_a_filtered_search_is_what_brute_force_finds(items, cut, search):
    asked, limit, conversation, narrowing, exclude = search
    rows = rows_of(items)
    index = UserIndex(DIMENSION, 0)
    index.add(rows[:cut])
    index.add(rows[cut:])
    query = DIRECTIONS[asked]
    found = index.search(query, limit, conversation, narrowing, exclude)

    candidates = [row for row in rows if passes(row, conversation, narrowing, exclude)]
    vectors = unit(
        np.stack([np.frombuffer(r.vector, "<f2").astype(np.float32) for r in candidates])
        if candidates
        else np.ones((1, DIMENSION))
    )
    score_of = {row.message_id: float(score) for row, score in zip(candidates, vectors @ query, strict=False)}
    # numpy and FAISS may round a sum differently in its last place; a tie is a tie to within that.
    best = sorted(score_of, key=lambda i: (-round(score_of[i], 5), -i))[:limit]
    assert [one.message_id for one in found] == best
    assert np.allclose([one.similarity for one in found], [score_of[i] for i in best], atol=1e-6)


def test_of_equal_scores_the_newest_are_kept_whatever_the_limit():
    index = UserIndex(DIMENSION, 0)
    index.add(rows_of([(0, "a", Role.USER, None, 0)] * 500))
    for limit in (1, 7, 499, 500, 1000):
        found = [one.message_id for one in index.search(DIRECTIONS[0], limit, None, NO_FILTER, ())]
        assert found == [number * 3 for number in range(500, max(500 - limit, 0), -1)]


def test_a_similarity_never_leaves_minus_one_to_one():
    index = UserIndex(DIMENSION, 0)
    index.add(rows_of([(i, "a", Role.USER, None, 0) for i in range(6)]))
    for direction in DIRECTIONS:
        for sign in (1, -1):
            for one in index.search(sign * direction, 6, None, NO_FILTER, ()):
                assert -1.0 <= one.similarity <= 1.0
