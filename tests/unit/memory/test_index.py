"""A user's index against the same scoring in plain Python, with and without filters."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.memory.index import UserIndex
from services.memory.index_query import IndexQuery
from services.memory.message import NO_FILTER, MessageFilter, MessageRange, Role
from services.memory.moments import Moments
from services.memory.neighbours import Neighbours
from services.memory.ranking import Recency
from services.memory.scoring.product_kernel import AT_ONCE
from services.memory.terms import pack_terms, query_terms, words
from services.memory.vector import LogStretch, StoredVector

DIMENSION = 8
EVERYTHING = MessageFilter(start_ns=0)
"""A filter that all pass: whatever passes one is scored exactly."""
AUTHORS = (None, "Иван", "Ann")
VOCABULARY = ("boat", "лодка", "red", "the", "tomato", "Ann", "Ивана", "…")


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# Few different directions and words, so that equal scores are common.
DIRECTIONS = unit(np.random.default_rng(1).standard_normal((6, DIMENSION)))

texts = st.lists(st.sampled_from([*VOCABULARY, "red boat " * 30]), max_size=6).map(" ".join)
# None: the message waits to be embedded anew.
stored = st.tuples(
    st.integers(0, len(DIRECTIONS) - 1) | st.none(),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(list(Role)),
    st.sampled_from(AUTHORS),
    st.integers(0, 20),
    texts,
)
filters = st.builds(
    MessageFilter,
    st.frozensets(st.sampled_from(list(Role)), max_size=2),
    st.frozensets(st.sampled_from(["Иван", "Ann", "Nobody"]), max_size=2),
    st.none() | st.integers(0, 20),
    st.none() | st.integers(0, 20),
)
ranges = st.builds(MessageRange, st.sampled_from(["a", "b", "x"]), st.integers(0, 30), st.none() | st.integers(0, 30))
queries = st.builds(
    lambda direction, text, **rest: IndexQuery(DIRECTIONS[direction], query_terms(text), **rest),
    st.integers(0, len(DIRECTIONS) - 1),
    texts,
    limit=st.integers(1, 12),
    conversation_id=st.none() | st.sampled_from(["a", "b", "x"]),
    narrowing=filters,
    exclude=st.lists(ranges, max_size=2),
    recency=st.none() | st.just(Recency(now_ns=15, half_life_ns=4)),
    dense_weight=st.sampled_from([1.0, 0.25]),
)


def rows_of(items) -> list[StoredVector]:
    sequence_of: dict[str, int] = {}
    rows = []
    for number, (direction, conversation, role, author, time, text) in enumerate(items, start=1):
        sequence_of[conversation] = sequence_of.get(conversation, 0) + 1
        vector = b"" if direction is None else DIRECTIONS[direction].astype("<f2").tobytes()
        terms = pack_terms(f"{author or ''} {text}")
        sequence = sequence_of[conversation]
        rows.append(StoredVector(number * 3, number, conversation, sequence, int(role), author, time, vector, terms))
    return rows


def ids_of(rows: list[StoredVector]) -> np.ndarray:
    return np.array([row.message_id for row in rows], dtype=np.int64)


def passes(row: StoredVector, query: IndexQuery) -> bool:
    narrowing = query.narrowing
    return (
        (query.conversation_id is None or row.conversation_id == query.conversation_id)
        and (not narrowing.roles or row.role in narrowing.roles)
        and (not narrowing.authors or row.author in narrowing.authors)
        and (narrowing.start_ns is None or row.create_ns >= narrowing.start_ns)
        and (narrowing.end_ns is None or row.create_ns < narrowing.end_ns)
        and not any(
            row.conversation_id == r.conversation_id
            and r.start_sequence <= row.sequence
            and (r.end_sequence is None or row.sequence <= r.end_sequence)
            for r in query.exclude
        )
    )


def reference(items, rows: list[StoredVector], query: IndexQuery) -> dict[int, tuple[float, float, float]]:
    """Returns each message's dense, lexical and prior part, all by definition and in double precision."""
    counts = [
        Counter(term for word in words(f"{item[3] or ''} {item[5]}") for term in query_terms(word)) for item in items
    ]
    lengths = [sum(c.values()) for c in counts]
    beside, next_but_one = (
        [
            [
                j
                for j, other in enumerate(rows)
                if other.conversation_id == row.conversation_id and abs(other.sequence - row.sequence) == distance
            ]
            for row in rows
        ]
        for distance in (1, 2)
    )

    def rarity_of(term: int, texts: list[Counter]) -> float:
        having = sum(term in text for text in texts)
        return math.log(1 + (len(rows) - having + 0.5) / (having + 0.5))

    def bm25(term: int, texts: list[Counter], sizes: list[int]) -> list[float]:
        rarity = rarity_of(term, texts)
        mean = max(sum(sizes) / len(sizes), 1)
        return [
            rarity * text[term] * 2.2 / (text[term] + 1.2 * (0.6 + 0.4 * size / mean)) if text[term] else 0.0
            for text, size in zip(texts, sizes, strict=True)
        ]

    together = [sum((counts[j] for j in near), counts[i]) for i, near in enumerate(beside)]
    sizes_together = [lengths[i] + sum(lengths[j] for j in near) for i, near in enumerate(beside)]
    fit = [0.0] * len(rows)
    whole = 0.0
    for term in query.terms:
        whole += rarity_of(term, counts)
        alone, window = bm25(term, counts, lengths), bm25(term, together, sizes_together)
        fit = [f + a + 0.5 * w for f, a, w in zip(fit, alone, window, strict=True)]
    halves = [None if item[0] is None else DIRECTIONS[item[0]].astype("<f2").astype(np.float64) for item in items]
    directions = [None if half is None else half / np.linalg.norm(half) for half in halves]
    centre = np.mean([one for one in directions if one is not None] or [np.zeros(DIMENSION)], axis=0)
    cosines = [None if one is None else float(one @ (query.vector - 0.5 * centre)) for one in directions]
    told = [cosine for cosine in cosines if cosine is not None]
    mean = float(np.mean(told)) if told else 0.0
    similar = [mean if cosine is None else cosine for cosine in cosines]
    smoothed = [
        (similar[i] + 0.2 * sum(similar[j] for j in near) + 0.1 * sum(similar[j] for j in far))
        / (1 + 0.2 * len(near) + 0.1 * len(far))
        for i, (near, far) in enumerate(zip(beside, next_but_one, strict=True))
    ]

    def z(values: list[float], among: list[float]) -> list[float]:
        deviation = float(np.std(among)) if among else 0.0
        return [(v - float(np.mean(among))) / deviation if deviation > 1e-5 else 0.0 for v in values]

    embedded = [cosine is not None for cosine in cosines]
    dense = z(smoothed, [value for value, there in zip(smoothed, embedded, strict=True) if there])
    dense = [value if there else 0.0 for value, there in zip(dense, embedded, strict=True)]
    said = [sum(rarity_of(term, counts) ** 2 for term in text) for text in counts]
    logarithms = [math.log1p(one * min(1, 32 / max(size, 1))) for one, size in zip(said, lengths, strict=True)]
    fullness = [one - sum(logarithms) / len(logarithms) for one in logarithms]
    parts = {}
    for i, row in enumerate(rows):
        named = row.author is not None and any(term in query.terms for term in query_terms(row.author))
        recent = 2 ** (-max(15 - row.create_ns, 0) / 4) if query.recency else 0.0
        lexical = (3.5 * fit[i] / whole if whole else 0.0) + named
        parts[row.message_id] = (query.dense_weight * dense[i], lexical, 1.2 * fullness[i] + recent)
    return parts


@settings(max_examples=300, deadline=None)
@given(st.lists(stored, max_size=40), st.integers(0, 40), queries)
def test_a_filtered_search_is_what_plain_python_finds(items, cut, query):
    rows = rows_of(items)
    index = UserIndex(DIMENSION, 0)
    index.add(LogStretch.of(rows[:cut]))
    index.add(LogStretch.of(rows[cut:]))
    found = index.search(query)
    passing = [row.message_id for row in rows if passes(row, query)]
    assert len(found) == min(query.limit, len(passing))
    assert {one.message_id for one in found} <= set(passing)
    if not rows:
        return
    parts = reference(items, rows, query)
    for one in found:
        assert (one.dense, one.lexical, one.prior) == pytest.approx(parts[one.message_id], abs=2e-3)
    # Single precision rounds: who is a thousandth behind may be taken for equal.
    left = [sum(parts[i]) for i in passing if i not in {one.message_id for one in found}]
    scores = [one.dense + one.lexical + one.prior for one in found]
    assert all(earlier >= later - 1e-4 for earlier, later in pairwise(scores))
    assert not left or max(left) <= min(scores) + 4e-3


@settings(max_examples=200, deadline=None)
@given(st.lists(stored, min_size=1, max_size=40), queries)
def test_a_filter_takes_messages_out_and_moves_none(items, query):
    rows = rows_of(items)
    index = UserIndex(DIMENSION, 0)
    index.add(LogStretch.of(rows))
    everything = index.search(
        IndexQuery(query.vector, query.terms, len(rows), recency=query.recency, dense_weight=query.dense_weight)
    )
    allowed = {row.message_id for row in rows if passes(row, query)}
    assert index.search(query) == [one for one in everything if one.message_id in allowed][: query.limit]


@settings(max_examples=100, deadline=None)
@given(st.lists(stored, min_size=1, max_size=30), st.randoms(use_true_random=False), queries)
def test_the_order_in_which_messages_were_embedded_changes_nothing(items, shuffler, query):
    rows = rows_of(items)
    late = list(rows)
    shuffler.shuffle(late)
    one, other = UserIndex(DIMENSION, 0), UserIndex(DIMENSION, 0)
    one.add(LogStretch.of(rows))
    for row in late:
        other.add(LogStretch.of([row]))
        other.search(query)
    # Means are summed in another order, so that the last digits differ.
    expected = {hit.message_id: (hit.dense, hit.lexical, hit.prior) for hit in one.search(query)}
    for hit in other.search(query):
        if hit.message_id in expected:
            assert (hit.dense, hit.lexical, hit.prior) == pytest.approx(expected[hit.message_id], abs=1e-3)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(stored, st.booleans()), min_size=1, max_size=40), queries)
def test_an_index_that_something_was_taken_out_of_is_as_if_that_had_never_been_in_it(items, query):
    rows = rows_of([item for item, _ in items])
    left = [row for row, (_, stays) in zip(rows, items, strict=True) if stays]
    never, shrunk = UserIndex(DIMENSION, 0), UserIndex(DIMENSION, 0)
    shrunk.add(LogStretch.of(rows))
    shrunk.search(query)
    shrunk.keep(ids_of(left))
    never.add(LogStretch.of(left))
    assert shrunk.search(query) == never.search(query)
    assert (len(shrunk), shrunk.last_position, shrunk.size) == (len(never), never.last_position, never.size)


again = st.lists(st.tuples(stored, st.integers(0, 2), st.none() | st.integers(0, 5)), min_size=1, max_size=40)


def embedded_anew(items) -> tuple[list[StoredVector], list[list[StoredVector]], list[StoredVector]]:
    """Returns rows, those of them that get other vectors or none, once and twice, and what the log has then."""
    rows = rows_of([item for item, _, _ in items])
    steps: list[list[StoredVector]] = [[], []]
    final = {row.message_id: row for row in rows}
    position = len(rows)
    for step in (1, 2):
        for row, (_, last_step, direction) in zip(rows, items, strict=True):
            if last_step >= step:
                position += 1
                vector = b"" if direction is None else DIRECTIONS[(direction + step) % 6].astype("<f2").tobytes()
                final[row.message_id] = row._replace(position=position, vector=vector)
                steps[step - 1].append(final[row.message_id])
    return rows, steps, sorted(final.values(), key=lambda row: row.position)


@settings(max_examples=200, deadline=None)
@given(again, st.integers(1, 40), queries)
def test_an_index_of_messages_that_were_embedded_anew_is_as_if_they_had_been_so_from_the_beginning(items, cut, query):
    rows, (once, twice), final = embedded_anew(items)
    followed, fresh = UserIndex(DIMENSION, 0), UserIndex(DIMENSION, 0)
    followed.add(LogStretch.of(rows))
    followed.search(query)
    followed.add(LogStretch.of(once[:cut]))
    followed.search(query)
    followed.add(LogStretch.of(once[cut:]))
    followed.add(LogStretch.of(twice))
    fresh.add(LogStretch.of(final))
    # Messages stand in another order, so that means are summed in another.
    expected = {hit.message_id: (hit.dense, hit.lexical, hit.prior) for hit in fresh.search(query)}
    found = followed.search(query)
    assert len(found) == len(expected)
    for hit in found:
        if hit.message_id in expected:
            assert (hit.dense, hit.lexical, hit.prior) == pytest.approx(expected[hit.message_id], abs=1e-3)
    followed.keep(ids_of(final))
    assert (followed.last_position, followed.size) == (fresh.last_position, fresh.size)


@settings(max_examples=60, deadline=None)
@given(again, st.integers(1, 40), st.lists(st.booleans(), min_size=40, max_size=40))
def test_inverted_lists_hold_the_newest_vector_of_messages_that_were_embedded_anew(items, cut, stays):
    rows, (once, twice), final = embedded_anew(items)
    index = UserIndex(DIMENSION, 0)
    index.add(LogStretch.of(rows))
    index.refit()
    index.add(LogStretch.of(once[:cut]))
    left = [row for row, it_stays in zip(final, stays, strict=False) if it_stays]
    index.keep(ids_of(left))
    index.add(LogStretch.of([row for row in once[cut:] if row.message_id in ids_of(left)]))
    index.add(LogStretch.of([row for row in twice if row.message_id in ids_of(left)]))
    found = {one.message_id: one for one in index.search(IndexQuery(DIRECTIONS[1], (), 100, narrowing=EVERYTHING))}
    assert found.keys() == {row.message_id for row in left}
    for row in left:
        half = np.frombuffer(row.vector or bytes(2 * DIMENSION), "<f2").astype(np.float64)
        similar = half @ DIRECTIONS[1] / (np.linalg.norm(half) or 1)
        assert found[row.message_id].similarity == pytest.approx(similar, abs=2e-3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(stored, st.booleans()), min_size=4, max_size=40), st.integers(2, 40), queries)
def test_inverted_lists_find_among_what_passes_a_filter_what_the_flat_index_finds(items, cut, query):
    rows = rows_of([item for item, _ in items])
    left = [row for row, (_, stays) in zip(rows, items, strict=True) if stays]
    kept = ids_of(left)
    flat, listed = UserIndex(DIMENSION, 0), UserIndex(DIMENSION, 0)
    flat.add(LogStretch.of(rows))
    listed.add(LogStretch.of(rows[:cut]))
    listed.add(LogStretch.of(rows[cut:]))
    listed.refit()
    flat.keep(kept)
    listed.keep(kept)
    if not left:
        assert listed.search(query) == []
        return
    listed.refit()
    if query.conversation_id is None and query.narrowing == NO_FILTER:
        return
    expected, found = flat.search(query), listed.search(query)
    # Vectors are half floats there, so that whose scores are nearly equal may change places.
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dense + one.lexical + one.prior == pytest.approx(other.dense + other.lexical + other.prior, abs=2e-2)


def test_inverted_lists_find_nearly_all_that_the_flat_index_finds_and_take_half_the_memory():
    numbers = np.random.default_rng(3)
    dimension, count = 32, 4_000
    centres = unit(numbers.standard_normal((60, dimension)))
    vectors = unit(centres[numbers.integers(60, size=count)] + 0.1 * numbers.standard_normal((count, dimension)))
    rows = [
        StoredVector(i, i, f"c{i % 50}", i, 2, None, 0, vectors[i].astype("<f2").tobytes(), b"")
        for i in range(1, count)
    ]
    flat, listed = UserIndex(dimension, 0), UserIndex(dimension, 0)
    flat.add(LogStretch.of(rows))
    listed.add(LogStretch.of(rows[:2_000]))
    listed.refit()
    listed.add(LogStretch.of(rows[2_000:]))
    assert flat.size - listed.size > 0.4 * count * dimension * 4
    shares = []
    for centre in centres[:20]:
        wanted = IndexQuery(centre, (), 10)
        expected = {one.message_id for one in flat.search(wanted)}
        shares.append(len(expected & {one.message_id for one in listed.search(wanted)}) / 10)
    assert np.mean(shares) >= 0.95


def test_an_index_asks_for_another_form_when_it_has_grown_enough(monkeypatch):
    monkeypatch.setattr("services.memory.index.LISTED_FROM", 10)
    index = UserIndex(DIMENSION, 0)
    rows = rows_of([(i % 6, "a", Role.USER, None, 0, "") for i in range(100)])
    index.add(LogStretch.of(rows[:10]))
    assert not index.unfit
    index.add(LogStretch.of(rows[10:20]))
    assert index.unfit
    index.refit()
    index.add(LogStretch.of(rows[20:40]))
    assert not index.unfit
    # The mean and deviation of all similarities are no more what they were.
    index.add(LogStretch.of(rows[40:50]))
    assert index.unfit
    index.refit()
    assert not index.unfit
    index.add(LogStretch.of(rows[50:]))
    assert index.unfit
    index.refit()
    assert not index.unfit
    assert len(index.search(IndexQuery(DIRECTIONS[0], (), 100, narrowing=MessageFilter(end_ns=1)))) > 0


def test_a_vector_that_says_nothing_is_none():
    directions = np.array([DIRECTIONS[0], np.zeros(DIMENSION), np.full(DIMENSION, np.nan), DIRECTIONS[1]]).astype("<f2")
    rows = [
        StoredVector(i, i, "a", i, 2, None, 0, vector.tobytes(), b"") for i, vector in enumerate(directions, start=1)
    ]
    index = UserIndex(DIMENSION, 0)
    index.add(LogStretch.of(rows))
    found = {one.message_id: one for one in index.search(IndexQuery(DIRECTIONS[0], (), 4))}
    assert found[1].similarity == pytest.approx(1, abs=1e-3)
    assert [(found[i].similarity, found[i].dense) for i in (2, 3)] == [(0, 0), (0, 0)]
    assert found[4].similarity == pytest.approx(float(DIRECTIONS[1] @ DIRECTIONS[0]), abs=1e-3)


def test_of_equal_scores_the_newest_are_kept_whatever_the_limit():
    index = UserIndex(DIMENSION, 0)
    # One message a conversation: none has neighbours.
    vector, terms = DIRECTIONS[0].astype("<f2").tobytes(), pack_terms("boat")
    rows = [StoredVector(i * 3, i, str(i), 1, 2, None, 0, vector, terms) for i in range(1, 501)]
    index.add(LogStretch.of(rows))
    for limit in (1, 7, 499, 500, 1000):
        found = [one.message_id for one in index.search(IndexQuery(DIRECTIONS[0], query_terms("boat"), limit))]
        assert found == [number * 3 for number in range(500, max(500 - limit, 0), -1)]


def test_a_similarity_never_leaves_minus_one_to_one():
    index = UserIndex(DIMENSION, 0)
    index.add(LogStretch.of(rows_of([(i, "a", Role.USER, None, 0, "") for i in range(6)])))
    for direction in DIRECTIONS:
        for sign in (1, -1):
            for one in index.search(IndexQuery(sign * direction, (), 6)):
                assert -1.0 <= one.similarity <= 1.0


def test_one_message_without_words_is_found_by_a_query_without_words():
    index = UserIndex(DIMENSION, 0)
    index.add(LogStretch.of(rows_of([(0, "a", Role.USER, None, 0, "…")])))
    (one,) = index.search(IndexQuery(DIRECTIONS[1], query_terms("🙂"), 5))
    assert (one.dense, one.lexical, one.prior, one.word_share) == (0, 0, 0, 0)


def test_neighbours_are_of_the_same_conversation_and_in_order_whatever_the_filter():
    index = UserIndex(DIMENSION, 0)
    index.add(LogStretch.of(rows_of([(0, conversation, Role.USER, None, 0, "") for conversation in "aababaa"])))
    wanted = IndexQuery(DIRECTIONS[0], (), 1, "a", NO_FILTER, [MessageRange("a", 1, 3), MessageRange("a", 5, None)], 2)
    (one,) = index.search(wanted)
    assert (one.before, one.message_id, one.after) == ((6, 12), 18, (21,))


def test_the_share_of_words_counts_rare_ones_more():
    index = UserIndex(DIMENSION, 0)
    index.add(
        LogStretch.of(
            rows_of([(0, "a", Role.USER, None, 0, text) for text in ("red", "red", "red boat", "red", "tomato")])
        )
    )
    hits = index.search(IndexQuery(DIRECTIONS[0], query_terms("the red boats"), 5))
    share_of = {one.message_id: one.word_share for one in hits}
    assert share_of[9] == pytest.approx(1)
    assert 0 < share_of[3] < 0.5
    assert share_of[15] == 0


def test_its_size_grows_with_vectors_and_with_words():
    sizes = []
    for text in ("", "red boat tomato"):
        index = UserIndex(DIMENSION, 0)
        index.add(LogStretch.of(rows_of([(0, "a", Role.USER, None, 0, text)] * 100)))
        sizes.append(index.size)
    assert sizes[0] >= 100 * DIMENSION * 4
    assert sizes[1] - sizes[0] == 100 * 3 * 8


def test_moments_are_those_of_the_messages_that_have_a_vector_as_ranking_smooths_them():
    numbers = np.random.default_rng(5)
    count, query = 400, DIRECTIONS[0]
    halves = unit(numbers.standard_normal((count, DIMENSION))).astype("<f2")
    embedded = numbers.random(count) < 0.7
    before = np.append(np.arange(count) - 20, count)
    before[:20] = count
    after = np.append(np.arange(count) + 20, count).clip(max=count)
    neighbours = Neighbours(before, after)
    weights = (0.5, 0.3)
    cosines = halves.astype(np.float64) @ query
    cosines[~embedded] = cosines[embedded].mean()
    padded = np.append(cosines, 0)
    smoothed, whole = cosines.copy(), np.ones(count)
    for weight, sides in zip(weights, neighbours.around(np.arange(count), 2), strict=True):
        for side in sides:
            smoothed += weight * padded[side]
            whole += weight * (side < count)
    among = (smoothed / whole)[embedded]
    mean, deviation = Moments.of(halves[embedded], embedded, neighbours, weights).along(query)
    assert (mean, deviation) == pytest.approx((among.mean(), among.std()), abs=1e-4)


def test_lists_are_made_when_enough_messages_have_a_vector_and_hold_no_other(monkeypatch):
    monkeypatch.setattr("services.memory.index.LISTED_FROM", 10)
    index = UserIndex(DIMENSION, 0)
    rows = rows_of([(i % 6 if i % 2 else None, "a", Role.USER, None, 0, f"boat{i}") for i in range(24)])
    index.add(LogStretch.of(rows[:20]))
    assert not index.unfit
    index.add(LogStretch.of(rows[20:]))
    assert index.unfit
    index.refit()
    # Among what was taken out, and what has come since, are messages with a vector and without.
    index.keep(ids_of(rows[3:]))
    late = rows_of([(i % 6 if i % 2 else None, "a", Role.USER, None, 0, f"boat{i}") for i in range(26)])[24:]
    index.add(LogStretch.of(late))
    everything = IndexQuery(DIRECTIONS[1], query_terms("boat4"), 100, narrowing=MessageFilter(start_ns=0))
    found = {one.message_id: one for one in index.search(everything)}
    left = [*rows[3:], *late]
    assert found.keys() == {row.message_id for row in left}
    for row in left:
        one = found[row.message_id]
        if row.vector:
            half = np.frombuffer(row.vector, "<f2").astype(np.float64)
            assert one.similarity == pytest.approx(half @ DIRECTIONS[1] / np.linalg.norm(half), abs=2e-3)
        else:
            assert (one.similarity, one.dense) == (0, 0)
    assert found[rows[4].message_id].word_share == 1


@pytest.mark.parametrize("dimension", [AT_ONCE, AT_ONCE + 1])
def test_what_was_read_from_a_database_as_bytes_can_be_embedded_anew_and_added_to(dimension):
    rows = np.eye(4, dimension, dtype=np.float16)

    def stretch(first: int, *vectors: np.ndarray, position: int) -> LogStretch:
        return LogStretch.of(
            [
                StoredVector(i, position + i, "talk", i, 1, None, 0, vector.tobytes(), b"")
                for i, vector in enumerate(vectors, start=first)
            ]
        )

    index = UserIndex(dimension, 0)
    index.add(stretch(1, rows[0], rows[1], position=0))
    index.add(stretch(2, rows[2], position=10))
    index.add(stretch(3, rows[3], position=20))
    similar = [
        {hit.message_id: hit.similarity for hit in index.search(IndexQuery(row.astype(np.float32), (), 9))}
        for row in rows
    ]
    assert [max(each, key=each.__getitem__) for each in (similar[0], similar[2], similar[3])] == [1, 2, 3]
    assert set(similar[1].values()) == {0.0}
