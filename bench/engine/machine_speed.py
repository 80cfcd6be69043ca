"""The program that measures the machine: memory and matrix multiplication, with as many threads as contenders have.

`python -m bench.engine.machine_speed THREADS`: prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_REPEATS = 7
_READ_BYTES = 512 * 2**20
"""Far more than any cache of a CPU holds."""
_SIDE = 2048


def best_seconds(work: Callable[[], object]) -> float:
    """Returns the shortest of several runs: what the machine can do when nothing disturbs it."""
    work()
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def main(threads: int) -> None:
    """Measures and prints."""
    torch.set_num_threads(threads)
    # A sum reads all and writes nothing, as a step reads its weights.
    words = torch.ones(_READ_BYTES // 4)
    found = {"read_bytes_per_second": _READ_BYTES / best_seconds(words.sum)}
    for name, kind in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        left, right = (torch.randn(_SIDE, _SIDE).to(kind) for _ in range(2))
        seconds = best_seconds(lambda a=left, b=right: a @ b)  # type: ignore[misc]  # a lambda's defaults
        found[f"{name}_operations_per_second"] = 2 * _SIDE**3 / seconds
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
