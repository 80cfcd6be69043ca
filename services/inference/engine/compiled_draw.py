"""Draws tokens on a CPU: what concerns all of a vocabulary by compiled code, the rest among the few that are likely.

By the same rules as `drawing.draw`, which takes some fifty operations of torch to it: after a step has gone through
the weights of a model, each of them first has to be brought back into the processor's cache.
"""

from __future__ import annotations

import ctypes
import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from services.inference.engine.kernels.draw_kernel import BLOCK, write_collect, write_weigh
from services.kernels.emitter import LANES
from services.kernels.machine_code import Target
from services.kernels.table import address_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.inference.engine.protocol import SamplingParams

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

_LEASTS = (2.0**-7, 2.0**-14, 2.0**-22)
"""Weights, beside a largest of 1, from which on a nucleus is looked for before it is among all: it is seldom larger
than a few tokens."""

_BELOW_ONE = 1 - 2**-52


class _Code:
    """The compiled functions."""

    def __init__(self, features: str | None) -> None:
        target = Target(features)
        module = target.module("draw")
        write_weigh(module, target.processor)
        write_collect(module)
        # Holds the machine code.
        self._code = target.compile(module)
        address, number, fraction = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
        self.weigh = self._code.function("weigh", [address, number, fraction, fraction, address, address], short=True)
        self.collect = self._code.function("collect", [address, number, fraction, address, address], short=True)


_code = cache(_Code)


class CompiledDraw:
    """A `Draw` for one thread. The first of a process takes a tenth of a second to make.

    Args:
        features: What the processor is taken to have, as LLVM names it; None: what it has.
    """

    def __init__(self, features: str | None = None) -> None:
        self._code = _code(features)
        self._make_room(0)

    def _make_room(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._count = -(-vocabulary // LANES) * LANES
        self._logits = np.full(self._count, -np.inf, dtype=np.float32)
        """A row, where it is no multiple of 16."""
        self._weights: Floats = np.zeros(self._count, dtype=np.float32)
        self._sums: Floats = np.zeros(-(-self._count // BLOCK), dtype=np.float32)
        self._tokens: NDArray[np.int64] = np.zeros(self._count, dtype=np.int64)
        self._found: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
        # Where they are takes numpy a microsecond to tell.
        self._weights_at, self._sums_at = address_of(self._weights), address_of(self._sums)
        self._tokens_at, self._found_at = address_of(self._tokens), address_of(self._found)

    def __call__(
        self, logits: torch.Tensor, params: Sequence[SamplingParams], numbers: Sequence[float]
    ) -> torch.Tensor:
        """As `Draw`."""
        if logits.shape[-1] != self._vocabulary:
            self._make_room(logits.shape[-1])
        return torch.tensor([self._draw(*one) for one in zip(logits.numpy(), params, numbers, strict=True)])

    def _draw(self, row: Floats, params: SamplingParams, number: float) -> int:
        if self._count != self._vocabulary:
            self._logits[: self._vocabulary] = row
            row = self._logits
        filtered = bool(params.top_k) or params.top_p < 1.0
        factor = math.log2(math.e) / params.temperature
        least = 0.0 if filtered else params.min_p
        self._code.weigh(address_of(row), self._count, factor, least, self._weights_at, self._sums_at)
        return self._from_the_best(params, number) if filtered else self._from_all(number)

    def _from_all(self, number: float) -> int:
        """Draws from all that has a weight."""
        cumulative = self._sums.cumsum(dtype=np.float64)
        sought = number * float(cumulative[-1])
        block = _invert(cumulative, sought)
        if block:
            sought -= float(cumulative[block - 1])
        begin = BLOCK * block
        return begin + _invert(self._weights[begin : begin + BLOCK].cumsum(dtype=np.float64), sought)

    def _from_the_best(self, params: SamplingParams, number: float) -> int:
        """Draws from the most probable tokens, as many as top-k, top-p and min-p leave."""
        total = _sum(self._sums)
        tokens, weights = self._likely(params, total)
        # In whatever order among equals, but always in the same.
        if 0 < params.top_k < len(weights):
            best = np.argpartition(-weights, params.top_k - 1)[: params.top_k]
            tokens, weights = tokens[best], weights[best]
        order = np.argsort(-weights)
        weights = weights[order].astype(np.float64)
        cumulative = weights.cumsum()
        # top_p is a share of what top-k kept; without top-k, of all there is.
        whole = float(cumulative[-1]) if params.top_k else total
        kept = len(weights)
        if params.top_p < 1.0:
            # The first that reaches it is kept, and the best all the same.
            kept = min(kept, 1 + int(cumulative.searchsorted(params.top_p * whole)))
        if params.min_p:
            kept = min(kept, int((weights >= params.min_p * weights[0]).sum()))
        cumulative = cumulative[:kept]
        return int(tokens[order[_invert(cumulative, number * float(cumulative[-1]))]])

    def _likely(self, params: SamplingParams, total: float) -> tuple[NDArray[np.int64], Floats]:
        """Returns tokens, rising, and their weights: no other can be among those that are kept."""
        # What min-p drops need not be there, unless top_p is a share of it too.
        dropped = params.min_p if not params.top_k or params.top_p >= 1.0 else 0.0
        for least in _LEASTS:
            tokens, weights = self._from(least)
            enough = len(tokens) >= params.top_k if params.top_k else _sum(weights) > params.top_p * total
            if enough or least <= dropped:
                return tokens, weights
        return self._from(0.0)

    def _from(self, least: float) -> tuple[NDArray[np.int64], Floats]:
        self._code.collect(self._weights_at, self._count, least, self._tokens_at, self._found_at)
        tokens = self._tokens[: int(self._found[0])]
        return tokens, self._weights[tokens]


def _sum(numbers: Floats) -> float:
    return float(numbers.sum(dtype=np.float64))


def _invert(cumulative: Doubles, sought: float) -> int:
    """Returns the first place whose cumulative sum is over the number sought; never one that adds nothing."""
    # Rounding may have brought a number up to the sum of all, or below nothing.
    sought = min(max(sought, 0.0), float(cumulative[-1]) * _BELOW_ONE)
    return int(cumulative.searchsorted(sought, side="right"))
