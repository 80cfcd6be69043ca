"""How fast places become free."""

from __future__ import annotations

import pytest

from services.inference.pace import Pace


def test_nothing_is_known_before_somebody_waited():
    pace = Pace()
    pace.freed(5.0)
    assert pace.seconds(9.0) == 0.0


def test_intervals_count_while_somebody_waits():
    pace = Pace()
    pace.wanted(10.0)
    pace.wanted(11.0)
    pace.freed(12.0)
    assert pace.seconds(12.0) == 2.0
    pace.freed(19.0)
    assert pace.seconds(19.0) == pytest.approx(3.0)
    pace.unwanted()
    pace.freed(500.0)
    assert pace.seconds(900.0) == pytest.approx(3.0)


def test_a_place_that_takes_longer_than_the_mean_counts_as_long_as_it_takes():
    pace = Pace()
    pace.wanted(0.0)
    pace.freed(2.0)
    assert pace.seconds(12.0) == 10.0
