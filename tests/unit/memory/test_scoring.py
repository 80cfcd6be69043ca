"""Scoring as machine code, held against the same in numpy, whatever the processor has."""

from __future__ import annotations

import numpy as np
import pytest
from llvmlite import binding

from services.memory.flat_vectors import sums_of
from services.memory.neighbours import Neighbours
from services.memory.rarities import rarity
from services.memory.scoring import Scoring
from services.memory.scoring.index_table import IndexTable
from services.memory.scoring.product_kernel import AT_ONCE
from services.memory.scoring.room import Room, Rooms, RoomSize
from services.memory.scoring.tables import IndexField, Part, Weight
from services.memory.scoring.word_kernel import K1

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
        IndexField.COUNTS: neighbours.counts[0],
        IndexField.COUNTS_FURTHER: neighbours.counts[1],
        IndexField.EMBEDDED: embedded,
        IndexField.IDS: ids,
        IndexField.ROWS: 0,
        IndexField.ROW_COUNT: 0,
        IndexField.SIZE: AT_ONCE,
        IndexField.ROW_OF: 0,
    }
    return IndexTable(fields | {IndexField[name]: value for name, value in given.items()})


def room_for(count: int, width: int = AT_ONCE, terms: int = 1, limit: int = 1, weights: dict | None = None) -> Room:
    room = Room(RoomSize(count, width, terms, limit))
    room.weights[:] = [(USED | (weights or {}))[weight] for weight in Weight]
    return room


def alone(count: int) -> Neighbours:
    return Neighbours(np.arange(count, dtype=np.int32), np.arange(count))


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
    neighbours = Neighbours(chance.integers(0, 3, count).astype(np.int32), np.arange(count))
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
        around = of_each + neighbours.sum(of_each.astype(np.float32))
        rare, window = rarity(int((of_each > 0).sum()), count), rarity(int((around > 0).sum()), count)
        whole += rare
        share += rare * (of_each > 0)
        fit += rare * of_each * (K1 + 1) / (of_each + own)
        fit += USED[Weight.WINDOW] * window * around * (K1 + 1) / (around + together)
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
    neighbours = Neighbours(chance.integers(0, 4, count).astype(np.int32), np.arange(count))
    known = np.where(embedded, similarities, np.float32(weights[Weight.USUAL]))
    smoothed, weighed = known.copy(), np.ones_like(known)
    each = zip((Weight.NEXT, Weight.NEXT_BUT_ONE), neighbours.sums(known, 2), neighbours.counts, strict=True)
    for weight, theirs, around in each:
        smoothed += np.float32(weights[weight]) * theirs
        weighed += np.float32(weights[weight]) * around
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
