"""Scoring as machine code, held against the same in numpy, whatever the processor has."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from llvmlite import binding

from services.kernels.table import Memory
from services.memory.flat_vectors import sums_of
from services.memory.neighbours import Neighbours
from services.memory.scoring import Scoring
from services.memory.scoring.index_table import IndexTable
from services.memory.scoring.prepare_kernel import FEW, FULLNESS_WEIGHT, LONG_ENOUGH
from services.memory.scoring.product_kernel import AT_ONCE
from services.memory.scoring.room import Room, Rooms, RoomSize
from services.memory.scoring.tables import IndexField, Part, Weight
from services.memory.scoring.word_kernel import K1
from services.memory.terms import RECORD

X86 = binding.get_default_triple().startswith("x86_64")
AVX2 = "+sse2,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma,+f16c"
USED = {
    Weight.USUAL: 0.125,
    Weight.NEXT: 0.2,
    Weight.NEXT_BUT_ONE: 0.1,
    Weight.DENSE: 1.0,
    Weight.WINDOW: 0.5,
    Weight.LEXICAL: 3.5,
    Weight.AUTHOR: 1.0,
    Weight.LEAST_DEVIATION: 1e-6,
    Weight.GIVEN: 0.0,
    Weight.MEAN: 0.3,
    Weight.DEVIATION: 0.05,
}


@pytest.fixture(
    scope="module", params=[None, AVX2, "+sse2"] if X86 else [None], ids=["own", "avx2", "sse2"][: 1 + 2 * X86]
)
def scoring(request) -> Scoring:
    if request.param == AVX2 and not binding.get_host_cpu_features().get("avx2", False):
        pytest.skip("this processor has no AVX2")
    return Scoring(request.param)


def table(ids: np.ndarray, neighbours: Neighbours, embedded: np.ndarray, **given: object) -> IndexTable:
    """Returns an index without words and without rows, but for what is given."""
    count = len(ids)
    fields = {
        IndexField.COUNT: count,
        IndexField.POSTINGS: np.empty(0, dtype=np.uint64),
        IndexField.POSTING_COUNT: 0,
        IndexField.SCALES: np.ones(count, dtype=np.float32),
        IndexField.SCALES_TOGETHER: np.ones(count, dtype=np.float32),
        IndexField.BEFORE: neighbours.before,
        IndexField.AFTER: neighbours.after,
        IndexField.COUNTS: around(neighbours, np.ones(count), 1),
        IndexField.COUNTS_FURTHER: around(neighbours, np.ones(count), 2),
        IndexField.EVERYONE: np.ones(count, dtype=np.bool_),
        IndexField.NOBODY: np.zeros(count, dtype=np.bool_),
        IndexField.FULLNESS: np.zeros(count, dtype=np.float32),
        IndexField.EMBEDDED: embedded,
        IndexField.IDS: ids,
        IndexField.SIZE: AT_ONCE,
    }
    made = IndexTable()
    for field, value in (fields | {IndexField[name]: value for name, value in given.items()}).items():
        made[field] = value
    return made


def neighbours_of(conversations: np.ndarray, sequences: np.ndarray | None = None) -> Neighbours:
    """Returns what stands before and after each message, by definition."""
    count = len(conversations)
    before, after = np.full((2, count + 1), count)
    for conversation in set(conversations.tolist()):
        own = np.flatnonzero(conversations == conversation)
        own = own if sequences is None else own[np.argsort(sequences[own])]
        before[own[1:]], after[own[:-1]] = own[:-1], own[1:]
    return Neighbours(before, after)


def around(neighbours: Neighbours, values: np.ndarray, distance: int) -> np.ndarray:
    """Returns what those have together that stand so far from each message."""
    padded = np.append(values, 0).astype(np.float32)
    *_, (before, after) = neighbours.around(np.arange(len(values)), distance)
    return padded[before] + padded[after]


def room_for(count: int, width: int = AT_ONCE, terms: int = 1, limit: int = 1, weights: dict | None = None) -> Room:
    room = Room(RoomSize(count, width, terms, limit))
    room.weights[:] = [(USED | (weights or {}))[weight] for weight in Weight]
    return room


def rarity(having: int, count: int) -> float:
    return math.log(1 + (count - having + 0.5) / (having + 0.5))


def alone(count: int) -> Neighbours:
    return neighbours_of(np.arange(count))


def multiplied(scoring: Scoring, rows: np.ndarray, query: np.ndarray, row_of: np.ndarray | None = None) -> Room:
    """Searches rows, each of a message that stands alone, for a query that is what is sought, too."""
    count, width = len(rows) if row_of is None else len(row_of), rows.shape[1]
    embedded = np.ones(count, dtype=np.bool_) if row_of is None else row_of >= 0
    of = {} if row_of is None else {"ROW_OF": row_of}
    room = room_for(count, width, limit=count)
    room.query[:] = room.sought[:] = query
    everyone, nobody = np.ones(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
    prior = np.zeros(count, dtype=np.float32)
    room.ask((), everyone, nobody, prior, count)
    index = table(np.arange(count), alone(count), embedded, ROWS=rows, ROW_COUNT=len(rows), SIZE=width, **of)
    scoring.search(index, room)
    assert room.found == count
    return room


@pytest.mark.parametrize("count", [1, 3, 200])
@pytest.mark.parametrize("width", [AT_ONCE, 6 * AT_ONCE])
def test_products_are_those_of_double_precision_and_a_rows_own_wherever_it_stands(scoring, count, width):
    chance = np.random.default_rng(count + width)
    rows = chance.standard_normal((count, width)).astype(np.float16)
    rows[0, :4] = [6e-8, -6e-8, 65504, 0]  # the least there is, the most there is
    query = chance.standard_normal(width).astype(np.float32)
    exact = rows.astype(np.float64) @ query.astype(np.float64)
    room = multiplied(scoring, rows, query)
    assert np.allclose(room.similarities, exact, rtol=1e-5, atol=1e-4)
    backwards = multiplied(scoring, np.ascontiguousarray(rows[::-1]), query)
    assert np.array_equal(backwards.similarities[::-1], room.similarities)


def test_each_message_has_the_product_of_its_own_row_and_one_without_has_none(scoring):
    chance = np.random.default_rng(3)
    rows = (chance.standard_normal((5, AT_ONCE)) / 4).astype(np.float16)
    row_of = np.array([-1, 4, 0, -1, 2, 1, 3, -1])
    query = chance.standard_normal(AT_ONCE).astype(np.float32)
    room = multiplied(scoring, rows, query, row_of)
    exact = np.append(rows.astype(np.float64) @ query, 0)[row_of]
    assert np.allclose(room.similarities, exact, atol=1e-4)
    # What is told is never more than a cosine can be.
    assert np.abs(exact).max() > 1
    assert np.allclose(room.parts[:, Part.SIMILARITY], exact.clip(-1, 1)[room.places], atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_words_are_weighed_by_their_rarity_and_those_of_neighbours_with_them(scoring, seed):
    chance = np.random.default_rng(seed)
    count = int(chance.integers(1, 40))
    times = chance.choice([0, 0, 1, 3], (count, 5))
    vocabulary = np.sort(chance.choice(1 << 32, 5, replace=False))
    vocabulary[-1] = (1 << 32) - 1
    postings = [
        (int(term) << 32) | (place << 8) | int(times[place, number])
        for number, term in enumerate(vocabulary)
        for place in range(count)
        if times[place, number]
    ]
    neighbours = neighbours_of(chance.integers(0, 3, count))
    own, together = (chance.random(count).astype(np.float32) + 0.5 for _ in range(2))
    asked = [*map(int, chance.permutation(vocabulary)[:4]), 17]
    index = table(
        np.arange(count),
        neighbours,
        np.zeros(count, dtype=np.bool_),
        POSTINGS=np.array(postings, dtype=np.uint64),
        POSTING_COUNT=len(postings),
        SCALES=own,
        SCALES_TOGETHER=together,
    )
    room = room_for(count + 3, terms=6, limit=count)
    any_message = np.ones(count, dtype=np.bool_)
    fit, share, whole = np.zeros(count), np.zeros(count), 0.0
    for term in asked:
        of_each = times[:, list(vocabulary).index(term)] if term in vocabulary else np.zeros(count)
        together_of_each = of_each + around(neighbours, of_each, 1)
        rare, window = (rarity(int((one > 0).sum()), count) for one in (of_each, together_of_each))
        whole += rare
        share += rare * (of_each > 0)
        fit += rare * of_each * (K1 + 1) / (of_each + own)
        fit += USED[Weight.WINDOW] * window * together_of_each * (K1 + 1) / (together_of_each + together)
    for _ in range(2):
        # What the room was left with by one search is nothing to the next.
        room.ask(asked, any_message, ~any_message, np.zeros(count, dtype=np.float32), count)
        scoring.words(index, room)
        scoring.rank(index, room)
        assert np.allclose(room.fit[:count], fit / whole, rtol=1e-5, atol=1e-6)
        assert np.allclose(room.parts[:count, Part.SHARE], (share / whole)[room.places], atol=1e-6)


def ranked(scoring: Scoring, seed: int, limit: int, **changed: float) -> None:
    """Compares what is found among random messages with what numpy finds."""
    chance = np.random.default_rng(seed)
    count = int(chance.integers(1, 300))
    weights = USED | {Weight[name]: value for name, value in changed.items()}
    similarities = chance.choice(chance.standard_normal(max(1, count // 3)), count).astype(np.float32)
    embedded = chance.random(count) < 0.8
    fit, prior = (chance.choice([0.0, 0.0, 0.5, 1.5], count).astype(np.float32) for _ in range(2))
    named, passes = chance.random(count) < 0.3, chance.random(count) < 0.6
    ids = chance.permutation(count).astype(np.int64)
    neighbours = neighbours_of(chance.integers(0, 4, count))
    known = np.where(embedded, similarities, np.float32(weights[Weight.USUAL]))
    smoothed, weighed = known.copy(), np.ones_like(known)
    for distance, weight in enumerate((Weight.NEXT, Weight.NEXT_BUT_ONE), start=1):
        smoothed += np.float32(weights[weight]) * around(neighbours, known, distance)
        weighed += np.float32(weights[weight]) * around(neighbours, np.ones(count), distance)
    smoothed /= weighed
    of_those = smoothed[embedded] if embedded.any() else np.zeros(1, dtype=np.float32)
    mean, deviation = of_those.mean(dtype=np.float64), of_those.std(dtype=np.float64)
    if weights[Weight.GIVEN]:
        mean, deviation = weights[Weight.MEAN], weights[Weight.DEVIATION]
    dense = np.where(embedded, (smoothed - mean) / deviation if deviation >= 1e-6 else 0.0, 0.0)
    parts = np.stack([weights[Weight.DENSE] * dense, 3.5 * fit + named, prior], axis=1)
    most = min(limit, count)
    room = room_for(count, limit=most, weights=weights)
    room.fit[:], room.similarities[:] = fit, similarities
    room.ask((), passes, named, prior, most)
    scoring.rank(table(ids, neighbours, embedded), room)
    chosen = room.places[: room.found]
    told = room.parts[: room.found, [Part.DENSE, Part.LEXICAL, Part.PRIOR]]
    scores = told.astype(np.float64).sum(axis=1)
    assert len(chosen) == min(limit, np.count_nonzero(passes))
    assert passes[chosen].all()
    assert np.allclose(told, parts[chosen], rtol=1e-4, atol=1e-4)
    order = list(zip(-scores, -ids[chosen], strict=True))
    assert order == sorted(order)
    others = np.setdiff1d(np.flatnonzero(passes), chosen)
    if len(others) and len(chosen):
        assert parts[others].sum(axis=1).max() <= parts[chosen].sum(axis=1).min() + 1e-3


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize("seed", range(12))
def test_the_best_are_found_in_order_with_what_they_are_weighed_by(scoring, seed, limit):
    ranked(scoring, seed, limit)


@pytest.mark.parametrize(
    "changed", [{"GIVEN": 1.0}, {"DENSE": 0.25}, {"DENSE": 0.0}, {"NEXT": 0.0, "NEXT_BUT_ONE": 0.0}]
)
def test_every_weight_counts(scoring, changed):
    for seed in range(6):
        ranked(scoring, seed, 10, **changed)


@pytest.mark.parametrize("count", [1, 2, 17, 300])
def test_postings_are_a_message_a_term_and_lengths_are_their_words(scoring, count):
    chance = np.random.default_rng(count)
    counts = chance.integers(0, 6, count)
    records = np.empty(counts.sum(), dtype=RECORD)
    records["term"], records["count"] = chance.integers(0, 1 << 32, len(records)), chance.integers(1, 256, len(records))
    postings, lengths = np.empty(len(records), dtype=np.uint64), np.empty(count, dtype=np.float32)
    scoring.post(records.view(np.uint8), counts, count, 5, postings, lengths)
    place_of = np.repeat(np.arange(count), counts)
    expected = [
        (int(term) << 32) | ((5 + int(place)) << 8) | int(times)
        for (term, times), place in zip(records, place_of, strict=True)
    ]
    assert postings.tolist() == expected
    assert lengths.tolist() == [records["count"][place_of == place].sum() for place in range(count)]


@pytest.mark.parametrize("count", [1, 2, 17, 300])
def test_what_is_held_for_every_search_is_so_by_definition(scoring, count):
    chance = np.random.default_rng(count)
    conversations = chance.integers(0, 4, count).astype(np.int32)
    sequences = chance.permutation(count).astype(np.int64)
    texts = [Counter(chance.zipf(1.3, chance.integers(0, 60)).clip(0, 1 << 31).tolist()) for _ in range(count)]
    lengths = np.array([text.total() for text in texts], dtype=np.float32)
    postings = sorted((term << 32) | (place << 8) | 1 for place, text in enumerate(texts) for term in text)
    neighbours = neighbours_of(conversations, sequences)
    before, after = np.empty((2, count + 1), dtype=np.int64)
    counts, further, scales, together, fullness = np.empty((5, count), dtype=np.float32)
    everyone, nobody = np.empty((2, count), dtype=np.uint8)
    out = {"BEFORE": before, "AFTER": after, "COUNTS": counts, "COUNTS_FURTHER": further, "SCALES": scales}
    out |= {"SCALES_TOGETHER": together, "FULLNESS": fullness, "EVERYONE": everyone, "NOBODY": nobody}
    words = {"POSTINGS": np.array(postings, dtype=np.uint64), "POSTING_COUNT": len(postings)}
    index = table(np.arange(count), neighbours, np.ones(count, dtype=np.bool_), **words, **out)
    order = np.lexsort((sequences, conversations))
    scoring.prepare(index, order, conversations, lengths, np.empty(count + FEW))
    assert before.tolist() == neighbours.before.tolist()
    assert after.tolist() == neighbours.after.tolist()
    for distance, counted in ((1, counts), (2, further)):
        assert counted.tolist() == around(neighbours, np.ones(count), distance).tolist()
    for scale, length in ((scales, lengths), (together, lengths + around(neighbours, lengths, 1))):
        assert np.allclose(scale, K1 * (0.6 + 0.4 * length / max(length.mean(), 1)), rtol=1e-5)
    having = Counter(term for text in texts for term in text)
    told = [sum(rarity(having[term], count) ** 2 for term in text) for text in texts]
    said = np.log1p([one * min(1, LONG_ENOUGH / max(size, 1)) for one, size in zip(told, lengths, strict=True)])
    assert max(having.values()) >= FEW or count < FEW
    assert np.allclose(fullness, FULLNESS_WEIGHT * (said - said.mean()), atol=1e-5)
    assert everyone.all()
    assert not nobody.any()


@pytest.mark.parametrize("seed", range(3))
def test_what_is_not_asked_for_is_what_the_index_holds(scoring, seed):
    chance = np.random.default_rng(seed)
    count = 50
    fullness = chance.standard_normal(count).astype(np.float32)
    index = table(np.arange(count), alone(count), np.zeros(count, dtype=np.bool_), FULLNESS=fullness)
    room = room_for(count, limit=count)
    room.ask((), None, None, None, count)
    scoring.rank(index, room)
    assert room.places[: room.found].tolist() == np.argsort(-fullness).tolist()
    assert np.array_equal(room.parts[:count, Part.PRIOR], np.sort(fullness)[::-1])
    assert not room.parts[:count, Part.LEXICAL].any()


def test_memory_is_given_out_once():
    memory = Memory(24)
    first, second = memory.take(16), memory.take(8)
    assert second == first + 16
    memory.array(first, 2, np.int64)[:] = [1, 2]
    memory.array(second, 2, np.float32)[:] = [3, 4]
    assert memory.array(first, 2, np.int64).tolist() == [1, 2]
    with pytest.raises(MemoryError, match="25 bytes of 24"):
        memory.take(1)


def test_a_call_with_too_few_fields_is_none():
    with pytest.raises(TypeError, match="2 fields for the 5 of SumField"):
        Scoring.of_this_machine().sums(1, 2)


def test_a_room_is_taken_again_by_whom_it_is_large_enough_for():
    rooms = Rooms()
    first = rooms.take(RoomSize(100, AT_ONCE, 4, 10))
    assert rooms.take(RoomSize(1, AT_ONCE, 1, 1)) is not first
    rooms.give_back(first)
    assert rooms.take(RoomSize(60, AT_ONCE, 2, 10)) is first
    for larger in ((101, AT_ONCE, 4, 10), (100, AT_ONCE, 5, 10), (100, AT_ONCE, 4, 11), (100, 2 * AT_ONCE, 4, 10)):
        rooms.give_back(first)
        other = rooms.take(RoomSize(*larger))
        assert other is not first
        assert other.size.holds(RoomSize(*larger))


def test_a_room_for_very_many_messages_is_not_kept():
    rooms = Rooms()
    size = RoomSize(1_000_000, AT_ONCE, 1, 1)
    room = rooms.take(size)
    rooms.give_back(room)
    assert rooms.take(size) is not room


@pytest.mark.parametrize("dimension", [6, 384])
@pytest.mark.parametrize("count", [0, 1, 700])
def test_sums_of_rows_are_those_of_double_precision(count, dimension):
    rows = np.random.default_rng(count).standard_normal((count, dimension)).astype(np.float16)
    squares, total = sums_of(rows)
    exact = rows.astype(np.float64)
    assert np.allclose(squares, (exact**2).sum(axis=1), rtol=1e-5)
    assert np.array_equal(total, exact.sum(axis=0))
