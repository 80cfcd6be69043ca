"""The statistics of results."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.summary import Summary, median, percentile

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


def test_a_percentile_between_two_values_is_interpolated():
    assert percentile([10.0, 20.0], 0.25) == 12.5


def test_the_ends_are_the_least_and_the_greatest_value():
    assert (percentile([3.0, 1.0, 2.0], 0), percentile([3.0, 1.0, 2.0], 1)) == (1.0, 3.0)


@given(NUMBERS)
def test_the_median_is_the_standard_librarys(values):
    assert median(values) == pytest.approx(statistics.median(values))


@given(NUMBERS, st.floats(0, 1), st.floats(0, 1))
def test_a_greater_share_is_no_smaller_value(values, one, other):
    low, high = sorted((one, other))
    assert percentile(values, low) <= percentile(values, high) + 1e-6


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="a share is 0 to 1"):
        percentile([1.0], share)


def test_no_values_have_no_percentile():
    with pytest.raises(ValueError, match="at least one value"):
        percentile([], 0.5)


def test_a_summary_tells_middle_ends_and_quartiles():
    assert Summary.of([5.0, 1.0, 2.0, 3.0, 4.0]) == Summary(5, 3.0, 1.0, 5.0, (2.0, 4.0))
