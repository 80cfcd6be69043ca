"""Whose turn it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.fair_queue import FairQueue

CALLERS = ("a", "b", "c", "d")


def _add_all(queue: FairQueue[str], *items: str) -> None:
    for item in items:
        queue.add(item[0], item)


def _taken(queue: FairQueue[str], count: int) -> list[str]:
    return [queue.take() for _ in range(count)]


def test_one_callers_own_come_in_order():
    queue: FairQueue[str] = FairQueue()
    _add_all(queue, "a1", "a2", "a3")
    assert _taken(queue, 3) == ["a1", "a2", "a3"]
    assert queue.first() is None
    with pytest.raises(IndexError):
        queue.take()


def test_callers_take_turns():
    queue: FairQueue[str] = FairQueue()
    _add_all(queue, "a1", "a2", "a3", "b1", "b2", "c1")
    assert _taken(queue, 6) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_whoever_holds_few_places_goes_before_whoever_holds_many():
    queue: FairQueue[str] = FairQueue()
    _add_all(queue, "a1", "a2", "a3", "b1")
    assert _taken(queue, 4) == ["a1", "b1", "a2", "a3"]
    queue.release("b")
    _add_all(queue, "a4", "c1")
    assert _taken(queue, 2) == ["c1", "a4"]


def test_whoever_waits_is_not_overtaken_twice_by_one_that_is_quick_and_comes_again():
    queue: FairQueue[str] = FairQueue()
    _add_all(queue, "a1", "a2")
    assert queue.take() == "a1"
    for n, expected in enumerate(("b0", "a2", "b1")):
        queue.add("b", f"b{n}")
        assert queue.take() == expected
        queue.release(expected[0])


def test_what_gave_up_is_not_served_and_leaves_no_trace():
    queue: FairQueue[str] = FairQueue()
    _add_all(queue, "a1", "a2", "b1")
    assert queue.remove("a", "a1")
    assert not queue.remove("a", "a1")
    assert not queue.remove("stranger", "x1")
    assert (len(queue), queue.waiting_callers, queue.waiting_of("a")) == (2, 2, 1)
    assert _taken(queue, 2) == ["a2", "b1"]
    queue.release("a")
    queue.release("b")
    assert queue._callers == {}


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "add", "take", "take", "release", "remove"]), st.sampled_from(CALLERS)),
        max_size=120,
    )
)
def test_while_a_caller_waits_each_other_is_served_once_at_most(events: list[tuple[str, str]]):
    queue: FairQueue[str] = FairQueue()
    waiting: dict[str, list[str]] = {name: [] for name in CALLERS}
    held = dict.fromkeys(CALLERS, 0)
    served_meanwhile: dict[str, list[str]] = {name: [] for name in CALLERS}
    """Who was served since the caller began to wait for its turn."""
    for number, (event, name) in enumerate(events):
        if event == "add":
            queue.add(name, f"{name}{number}")
            if not waiting[name]:
                served_meanwhile[name] = []
            waiting[name].append(f"{name}{number}")
        elif event == "take" and len(queue):
            due = queue.first()
            item = queue.take()
            assert item == due
            caller = item[0]
            assert item == waiting[caller].pop(0)
            held[caller] += 1
            for other in CALLERS:
                if other != caller and waiting[other]:
                    assert caller not in served_meanwhile[other]
                    served_meanwhile[other].append(caller)
            served_meanwhile[caller] = []
        elif event == "release" and held[name]:
            queue.release(name)
            held[name] -= 1
        elif event == "remove" and waiting[name]:
            assert queue.remove(name, waiting[name].pop())
        assert len(queue) == sum(map(len, waiting.values()))
        assert sorted(queue.items()) == sorted(item for items in waiting.values() for item in items)
    for name in CALLERS:
        while waiting[name]:
            queue.remove(name, waiting[name].pop())
        for _ in range(held[name]):
            queue.release(name)
    assert queue._callers == {}
