"""Threads that compute together are parted where they share a processor."""

from __future__ import annotations

import os
import threading

import pytest

from services.inference.engine import thread_places
from services.inference.engine.thread_places import ThreadPlaces

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux lets threads be moved")


class System:
    """Threads that may run on some processors, and are where they were last sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, places: dict[int, int], allowed: set[int]) -> None:
        self.places = places
        self.allowed = dict.fromkeys(places, allowed)
        monkeypatch.setattr(thread_places, "_processor", self.places.__getitem__)
        monkeypatch.setattr(os, "sched_getaffinity", self.allowed.__getitem__)
        monkeypatch.setattr(os, "sched_setaffinity", self.allow)

    def allow(self, thread: int, processors: set[int]) -> None:
        self.allowed[thread] = processors
        if self.places[thread] not in processors:
            self.places[thread] = min(processors)


def test_threads_on_one_processor_are_parted_and_stay_free(monkeypatch: pytest.MonkeyPatch):
    system = System(monkeypatch, {11: 1, 12: 1, 13: 1}, {0, 1, 2, 3})
    ThreadPlaces([11, 12, 13]).look()
    assert system.places == {11: 1, 12: 0, 13: 2}
    assert all(allowed == {0, 1, 2, 3} for allowed in system.allowed.values())


def test_threads_share_where_there_are_not_enough_processors(monkeypatch: pytest.MonkeyPatch):
    system = System(monkeypatch, {11: 1, 12: 1, 13: 1}, {0, 1})
    ThreadPlaces([11, 12, 13]).look()
    assert system.places == {11: 1, 12: 0, 13: 1}


def test_threads_apart_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    system = System(monkeypatch, {11: 3, 12: 0}, {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", None)
    ThreadPlaces([11, 12]).look()
    assert system.places == {11: 3, 12: 0}


def test_a_real_thread_may_run_where_it_could_before_and_one_that_has_ended_is_passed_over():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    own, before = threading.get_native_id(), os.sched_getaffinity(0)
    ThreadPlaces([own, own, thread.native_id]).look()
    assert os.sched_getaffinity(0) == before
