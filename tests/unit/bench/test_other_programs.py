"""Programs that compute beside whoever is measured."""

from __future__ import annotations

import time

from bench.engine.other_programs import other_programs


def test_they_compute_until_they_are_ended():
    with other_programs(2) as programs:
        assert len(programs) == 2
        time.sleep(0.5)
        assert all(program.poll() is None for program in programs)
    assert all(program.returncode for program in programs)


def test_there_may_be_none():
    with other_programs(0) as programs:
        assert programs == []
