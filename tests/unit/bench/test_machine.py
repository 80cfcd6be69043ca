"""Where a run is made."""

from __future__ import annotations

import platform

import pytest

from bench.machine import slug, versions
from bench.result import Machine


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("AMD EPYC", "amd-epyc-2c"),
        ("AMD EPYC 9654 96-Core Processor", "amd-epyc-9654-2c"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "intel-xeon-platinum-8481c-2c"),
    ],
)
def test_a_machine_is_named_for_its_cpu_and_cores(cpu, name):
    assert slug(Machine(cpu, 2, 1, "")) == name


def test_versions_leave_out_what_is_not_installed():
    found = versions("pytest", "no-such-package-of-ours")
    assert found["python"] == platform.python_version()
    assert "pytest" in found
    assert "no-such-package-of-ours" not in found
