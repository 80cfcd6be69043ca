"""Scoring as machine code, held against the same in numpy, whatever the processor has."""

from __future__ import annotations

import numpy as np
import pytest
from llvmlite import binding

from services.memory.flat_vectors import sums_of
from services.memory.neighbours import Neighbours
from services.memory.scoring import Scoring
from services.memory.scoring.product_kernel import AT_ONCE
from services.memory.scoring.ranking_kernel import PARTS
from services.memory.scoring.tables import Weight

X86 = binding.get_default_triple().startswith("x86_64")
AVX2 = "+sse2,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma,+f16c"
USED = {
    Weight.USUAL: 0.125,
    Weight.NEXT: 0.2,
    Weight.NEXT_BUT_ONE: 0.1,
    Weight.DENSE: 1.0,
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


@pytest.mark.parametrize("count", [1, 3, 200])
@pytest.mark.parametrize("width", [AT_ONCE, 6 * AT_ONCE])
def test_products_are_those_of_double_precision_and_a_rows_own_wherever_it_stands(scoring, count, width):
    chance = np.random.default_rng(count + width)
    rows = chance.standard_normal((count, width)).astype(np.float16)
    rows[0, :4] = [6e-8, -6e-8, 65504, 0]  # the least there is, the most there is
    query = chance.standard_normal(width).astype(np.float32)
    out, again = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.float32)
    scoring.products(rows, count, width, query, out)
    exact = rows.astype(np.float64) @ query.astype(np.float64)
    assert np.allclose(out, exact, rtol=1e-5, atol=1e-4)
    scoring.products(np.ascontiguousarray(rows[::-1]), count, width, query, again)
    assert np.array_equal(again[::-1], out)


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
    places, found = np.zeros(most, dtype=np.int64), np.zeros(1, dtype=np.int64)
    scores, told = np.empty(most), np.empty((most, PARTS), dtype=np.float32)
    room = np.empty(count + 1, dtype=np.float32), np.empty(count, dtype=np.float32)
    given = np.array([weights[weight] for weight in Weight], dtype=np.float32)
    around = neighbours.before, neighbours.after, *neighbours.counts
    scoring.rank(
        *(count, similarities, embedded, *around, fit, named, prior, passes, ids, given, *room, most),
        *(scores, places, told, found),
    )
    chosen = places[: found[0]]
    assert len(chosen) == min(limit, np.count_nonzero(passes))
    assert passes[chosen].all()
    assert np.allclose(told[: len(chosen)], parts[chosen], rtol=1e-4, atol=1e-4)
    assert np.array_equal(scores[: len(chosen)], told[: len(chosen)].astype(np.float64).sum(axis=1))
    order = list(zip(-scores[: len(chosen)], -ids[chosen], strict=True))
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
    with pytest.raises(TypeError, match="2 fields for the 5 of ProductField"):
        Scoring.of_this_machine().products(1, 2)


@pytest.mark.parametrize("dimension", [6, 384])
@pytest.mark.parametrize("count", [0, 1, 700])
def test_sums_of_rows_are_those_of_double_precision(count, dimension):
    rows = np.random.default_rng(count).standard_normal((count, dimension)).astype(np.float16)
    squares, total = sums_of(rows)
    exact = rows.astype(np.float64)
    assert np.allclose(squares, (exact**2).sum(axis=1), rtol=1e-5)
    assert np.array_equal(total, exact.sum(axis=0))
