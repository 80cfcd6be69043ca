"""Programs that compute beside whoever is measured."""

from __future__ import annotations

import os
import time

import pytest

from bench.engine.other_programs import other_programs


@pytest.fixture(autouse=True)
def posix():
    if not hasattr(os, "wait4"):
        pytest.skip("only POSIX systems tell what children computed")


def seconds_of_ended_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def test_they_compute_until_they_are_ended():
    before = seconds_of_ended_children()
    with other_programs(2):
        time.sleep(0.5)
    # They have ended: only what those have computed is told.
    assert seconds_of_ended_children() > before


def test_there_may_be_none():
    before = seconds_of_ended_children()
    with other_programs(0):
        pass
    assert seconds_of_ended_children() == before
