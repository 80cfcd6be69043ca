"""The program that measures the device: memory, and matrix multiplication in bf16.

`python -m bench.gpu.device_speed DEVICE`: prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_REPEATS = 10
_READ_BYTES = 4 << 30
"""Far more than any cache holds."""
_SIDE = 8192


def _best_seconds(device: str, work: Callable[[], object]) -> float:
    def once() -> float:
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    once()
    return min(once() for _ in range(_REPEATS))


def main(device: str) -> None:
    """Measures and prints."""
    smaller = 1 if device == "cuda" else 32
    words = torch.ones(_READ_BYTES // smaller // 4, device=device)
    copied = torch.empty_like(words)
    left, right = (torch.randn(_SIDE // smaller, _SIDE // smaller, device=device).bfloat16() for _ in range(2))
    found = {
        "name": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "read": words.nbytes / _best_seconds(device, words.sum),
        "copy": 2 * words.nbytes / _best_seconds(device, lambda: copied.copy_(words)),
        "matmul_bf16": 2 * len(left) ** 3 / _best_seconds(device, lambda: left @ right),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
