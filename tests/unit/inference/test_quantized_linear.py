"""Linears over bytes by themselves: inputs of any shape and size, against the same sums in double precision."""

from __future__ import annotations

import ctypes

import pytest
import torch

from services.inference.engine.block_forms import FORMS, GROUP, Form
from services.inference.engine.block_packing import pack
from services.inference.engine.kernels.linear_kernel import (
    LEVELS,
    PART_BITS,
    ROWS_AT_ONCE,
    LinearKernel,
    PackedLinear,
    QuantizedRows,
    Tiles,
)
from services.inference.engine.kernels.linear_rounding import OUTLYING, write_quantize
from services.inference.engine.weight_room import WeightRoom
from services.kernels.emitter import ADDRESS, I64, Emitter, int64
from services.kernels.machine_code import Target
from tests.support.rounded_weights import rounded_to

OUTPUTS = 48


class CompiledLinear:
    """Rounds rows and maps them.

    `(in, values, scales, sums, offsets, halves, outlying, groups, rows, weights, bias, out)`
    """

    def __init__(self, form: Form) -> None:
        target = Target()
        module = target.module("linear")
        quantize, kernel = write_quantize(module), LinearKernel(module, target.processor, form)
        emitter = Emitter(module, "map", [ADDRESS] * 7 + [I64] * 2 + [ADDRESS] * 3)
        given, values, scales, sums, offsets, halves, outlying, groups, rows, weights, bias, out = emitter.arguments
        build = emitter.build
        with emitter.loop(int64(0), rows) as row:
            size = build.mul(groups, int64(GROUP))
            block = build.sdiv(row.index, int64(ROWS_AT_ONCE))
            places = [
                emitter.at(buffer, build.mul(build.mul(number, of_one), int64(size_of_one)))
                for buffer, number, of_one, size_of_one in (
                    (given, row.index, size, 4),
                    (values, row.index, size, LEVELS),
                    (scales, row.index, groups, 4),
                    (sums, row.index, groups, 4),
                    (offsets, row.index, groups, 4),
                    (halves, row.index, groups, 8),
                    (outlying, block, groups, 1),
                )
            ]
            build.call(quantize, [*places, groups, row.index, int64(FORMS[form].number)])
        kernel.call(
            emitter,
            PackedLinear(weights, bias, groups),
            QuantizedRows(rows, values, scales, sums, offsets, halves, outlying),
            (out, int64(4 * OUTPUTS)),
            Tiles(int64(0), int64(OUTPUTS // 16), passed_over=int64(0)),
        )
        emitter.finish()
        self._code = target.compile(module)
        kinds = [ctypes.c_void_p] * 7 + [ctypes.c_int64] * 2 + [ctypes.c_void_p] * 3
        self._map = self._code.function("map", kinds)

    def __call__(self, inputs: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        rows, size = inputs.shape
        groups = size // GROUP
        # What was there before must not matter.
        buffers = [
            torch.full((count,), 85, dtype=torch.uint8)
            for count in (LEVELS * rows * size, *(size_of_one * rows * groups for size_of_one in (4, 4, 4, 8, 1)))
        ]
        out = torch.full((rows, OUTPUTS), torch.nan)
        addresses = [tensor.data_ptr() for tensor in (inputs, *buffers)]
        self._map(*addresses, groups, rows, weights.data_ptr(), bias.data_ptr(), out.data_ptr())
        return out


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    return request.param


@pytest.fixture(scope="module")
def linear(form: Form) -> CompiledLinear:
    return CompiledLinear(form)


def steps_of(inputs: torch.Tensor) -> torch.Tensor:
    """Returns by how much values of a group of 32 differ at least, once they are rounded: shape `(rows, groups, 1)`."""
    groups = inputs.double().unflatten(-1, (-1, GROUP))
    squares = groups.square()
    stands_out = squares > OUTLYING * squares.mean(dim=-1, keepdim=True)
    largest = groups.abs().masked_fill(stands_out, 0).amax(dim=-1, keepdim=True)
    least = squares.sum(dim=-1, keepdim=True).sqrt() / (127 << PART_BITS)
    return torch.maximum(largest / 127, least)


def rounded(inputs: torch.Tensor) -> torch.Tensor:
    """Returns inputs as one byte gives them, in groups of 32, and as two give the one that stands out."""
    groups, steps = inputs.double().unflatten(-1, (-1, GROUP)), steps_of(inputs)
    return torch.where(steps > 1e-30, (groups / steps).round() * steps, 0.0).flatten(-2)


def some_inputs(rows: int, groups: int) -> torch.Tensor:
    return torch.randn(rows, groups * GROUP, generator=torch.Generator().manual_seed(rows + groups))


def check(linear: CompiledLinear, form: Form, inputs: torch.Tensor) -> None:
    chance = torch.Generator().manual_seed(1)
    blocks = rounded_to(form, torch.randn(OUTPUTS, inputs.shape[1], generator=chance))
    bias = torch.randn(OUTPUTS, generator=chance)
    got = linear(inputs, pack(blocks, WeightRoom()), bias)
    wanted = rounded(inputs) @ blocks.dequantized().double().T + bias
    # Where a sum of squares differs in its last bit, a value may be rounded the other way: by a step of its group.
    assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max() + 4 * steps_of(inputs).max()
    assert ((got - wanted).abs() <= 1e-5 * wanted.abs().amax(dim=-1, keepdim=True)).double().mean() > 0.95


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5, 18])
def test_rows_of_any_number_of_groups(linear: CompiledLinear, form: Form, groups: int):
    check(linear, form, some_inputs(3, groups))


@pytest.mark.parametrize("rows", [1, 2, 4, 7, 8, 9, 16, 23])
def test_any_number_of_rows_and_each_as_by_itself(linear: CompiledLinear, form: Form, rows: int):
    inputs = some_inputs(rows, 6)
    inputs[::3, 37] = 40.0
    inputs[1::3, 90] = -70.0
    check(linear, form, inputs)
    weights = pack(rounded_to(form, some_inputs(OUTPUTS, 6)), WeightRoom())
    together = linear(inputs, weights, torch.zeros(OUTPUTS))
    for row, of_all in zip(inputs, together, strict=True):
        assert torch.equal(linear(row[None].clone(), weights, torch.zeros(OUTPUTS))[0], of_all)


@pytest.mark.parametrize("size", [6.0, 30.0, 1e3, 1e6, -1e6, 1e12])
@pytest.mark.parametrize("place", [0, 3, 4, 31])
def test_a_value_far_beyond_the_others(linear: CompiledLinear, form: Form, size: float, place: int):
    inputs = some_inputs(9, 4)
    inputs[:, GROUP + place] = size
    check(linear, form, inputs)


def test_the_others_keep_their_precision_beside_it(linear: CompiledLinear, form: Form):
    blocks = rounded_to(form, torch.eye(OUTPUTS, GROUP))

    def errors(inputs: torch.Tensor) -> torch.Tensor:
        exact = inputs.double() @ blocks.dequantized().double().T
        return (linear(inputs, pack(blocks, WeightRoom()), torch.zeros(OUTPUTS)) - exact).abs()[0, :GROUP]

    inputs = some_inputs(1, 1).clamp(-2, 2)
    alone = errors(inputs).max()
    inputs[0, 5] = 100.0
    beside = errors(inputs)
    assert beside[torch.arange(GROUP) != 5].max() <= alone * 1.1
    assert beside[5] <= alone * 1.1


@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-20, 1e15])
def test_values_of_any_size(linear: CompiledLinear, form: Form, size: float):
    inputs = some_inputs(5, 5) * size
    inputs[2] = 0.0
    check(linear, form, inputs)
