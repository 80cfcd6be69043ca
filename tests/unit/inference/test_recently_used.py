"""What is kept, and what makes room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.recently_used import RecentlyUsed

ROOM = 10


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(1, ROOM + 2)), max_size=60))
def test_it_keeps_what_a_plain_list_in_order_of_use_keeps(steps: list[tuple[int, int | None]]):
    kept: RecentlyUsed[int, int] = RecentlyUsed(ROOM)
    model: list[tuple[int, int, int]] = []  # key, value, weight: the least recently used first
    for value, (key, weight) in enumerate(steps):
        there = next((one for one in model if one[0] == key), None)
        if weight is None:
            assert kept.get(key) == (None if there is None else there[1])
            if there is not None:
                model.remove(there)
                model.append(there)
        else:
            kept.put(key, value, weight)
            if weight <= ROOM:
                if there is not None:
                    model.remove(there)
                model.append((key, value, weight))
                while sum(one[2] for one in model) > ROOM:
                    model.pop(0)
        assert len(kept) == len(model)


def test_a_value_is_made_once_also_where_it_is_nothing():
    kept: RecentlyUsed[str, bool] = RecentlyUsed(ROOM)
    made: list[str] = []

    def make() -> bool:
        made.append("once")
        return False

    assert [kept.found("a", make), kept.found("a", make)] == [False, False]
    assert made == ["once"]
