"""Tokens are drawn as the rules say, by torch and by compiled code."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from llvmlite import binding

from services.inference.engine.compiled_draw import CompiledDraw
from services.inference.engine.protocol import SamplingParams

if TYPE_CHECKING:
    from services.inference.engine.drawing import Draw

REAL = 49152
RULES = [
    {"top_k": top_k, "top_p": top_p, "min_p": min_p}
    for top_k, top_p, min_p in product((0, 1, 40, 5000), (0.2, 0.95, 1.0), (0.0, 0.02, 1.0))
]
NUMBERS = (0.0, 0.1, 0.5, 0.77, 1 - 2**-52)
NEAR = 1e-5
"""Sums of many thousands of fp32 numbers are rounded by as much."""


def _params(temperature: float, **rules: float) -> SamplingParams:
    plain = {"repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0, "seed": 1, "max_tokens": 1}
    return SamplingParams(temperature, **{**plain, **rules})


def _share(logits: torch.Tensor, params: SamplingParams, token: int) -> tuple[float, float]:
    """Returns from where to where numbers draw a token, by the definitions, in fp64."""
    probabilities = torch.softmax(logits.double() / params.temperature, -1)
    order = torch.arange(len(logits))
    if params.top_k or params.top_p < 1.0:
        order = torch.argsort(probabilities, descending=True)[: params.top_k or None]
    kept = probabilities[order]
    if params.top_p < 1.0:
        whole = kept.sum() if params.top_k else 1.0
        before = (kept.cumsum(-1) - kept) / whole
        kept = torch.where((before < params.top_p) | (torch.arange(len(kept)) == 0), kept, 0.0)
    kept = torch.where(kept >= params.min_p * kept.max(), kept, 0.0)
    ends = kept.cumsum(-1) / kept.sum()
    place = order.tolist().index(token)
    return float(ends[place - 1]) if place else 0.0, float(ends[place])


@pytest.mark.parametrize("vocabulary", [1, 15, 16, 257, 5000, REAL])
@pytest.mark.parametrize("spread", [0.3, 4.0])
def test_a_token_is_drawn_by_the_numbers_that_are_its_own(draw: Draw, vocabulary: int, spread: float):
    logits = torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(vocabulary)) * spread
    for temperature, rules, number in product((0.3, 1.0), RULES, NUMBERS):
        params = _params(temperature, **rules)
        begin, end = _share(logits[0], params, int(draw(logits, [params], [number])))
        assert begin - NEAR < number < end + NEAR
        assert begin < end


@pytest.mark.skipif("x86_64" not in binding.get_default_triple(), reason="names features of x86-64")
@pytest.mark.parametrize("features", ["+avx2,+fma", "+sse2"])
def test_older_processors_draw_by_the_same_numbers(features: str):
    if not all(binding.get_host_cpu_features().get(name[1:]) for name in features.split(",")):
        pytest.skip("this processor lacks them")
    older = CompiledDraw(features)
    logits = torch.randn(1, 3000, generator=torch.Generator().manual_seed(3)) * 3
    logits[0, 7] = -torch.inf
    for rules, number in product(RULES, NUMBERS):
        params = _params(0.7, **rules)
        begin, end = _share(logits[0], params, int(older(logits, [params], [number])))
        assert begin - NEAR < number < end + NEAR
        assert begin < end


def test_what_must_not_be_drawn_is_not(draw: Draw):
    logits = torch.full((1, 300), -torch.inf)
    logits[0, [7, 256, 299]] = torch.tensor([0.0, -1.0, 1.0])
    for rules in ({"top_k": 0, "top_p": 1.0}, {"top_k": 50, "top_p": 1.0}, {"top_k": 0, "top_p": 0.999999}):
        params = _params(1.0, min_p=0.0, **rules)
        seen = {int(draw(logits, [params], [number])) for number in np.linspace(0, 1 - 2**-52, 400)}
        assert seen == {7, 256, 299}


def test_rows_may_lie_apart_and_be_of_another_vocabulary_than_before():
    compiled = CompiledDraw()
    wide = torch.randn(3, 640, generator=torch.Generator().manual_seed(1))
    params = [_params(1.0, top_k=0, top_p=top_p, min_p=0.0) for top_p in (1.0, 0.9, 0.5)]
    for width in (600, 17, 640):
        rows = wide[:, :width]
        together = compiled(rows, params, [0.3, 0.6, 0.9])
        assert together.dtype == torch.int64
        alone = [int(compiled(rows[n : n + 1].clone(), params[n : n + 1], [0.3 * (n + 1)])) for n in range(3)]
        assert together.tolist() == alone
        assert max(alone) < width


def test_logits_are_left_as_they_are(draw: Draw):
    logits = torch.randn(2, 100)
    before = logits.clone()
    draw(logits, [_params(1.0, top_k=5, top_p=0.9, min_p=0.1)] * 2, [0.1, 0.9])
    assert torch.equal(logits, before)
