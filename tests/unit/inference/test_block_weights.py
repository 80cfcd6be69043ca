"""Weights in blocks: rounding, and the layout that the compiled step reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from services.inference.engine import block_rounding
from services.inference.engine.block_forms import FORMS, GROUP
from services.inference.engine.block_linears import block_linear
from services.inference.engine.block_packing import pack, unpacked_rows
from services.inference.engine.block_rounding import quantized
from services.inference.engine.block_weights import HELD_BY_8_BITS, Blocks, in_8_bits, joined
from services.inference.engine.weight_room import WeightRoom

if TYPE_CHECKING:
    from services.inference.engine.block_forms import Form
    from services.inference.engine.block_rounding import Rounded

OUTPUTS = 37
INPUTS = 96


def _random(outputs: int = OUTPUTS, seed: int = 1) -> torch.Tensor:
    return torch.randn(outputs, INPUTS, generator=torch.Generator().manual_seed(seed))


def _random_blocks(form: Form, outputs: int = OUTPUTS) -> Blocks:
    generator = torch.Generator().manual_seed(2)
    facts = FORMS[form]
    codes = torch.randint(0, 2**facts.bits, (outputs, INPUTS), dtype=torch.uint8, generator=generator)
    groups = (2 if facts.halves else 1) * INPUTS // GROUP
    scales, zeros = torch.randn(2, outputs, groups, generator=generator).half()
    return Blocks(form, codes, scales, zeros if facts.centre is None else None)


def _unpacked(weights: torch.Tensor, form: Form) -> torch.Tensor:
    """Reads a packed matrix a weight at a time, as the layout's description has it."""
    facts = FORMS[form]
    numbers_of_group = 32 * facts.numbers
    codes_of_group = facts.tile_bytes - numbers_of_group
    tiles, groups = len(weights), weights.shape[1] // facts.tile_bytes
    matrix = torch.zeros(16 * tiles, GROUP * groups)
    for output in range(16 * tiles):
        tile, lane = divmod(output, 16)
        for column in range(GROUP * groups):
            group, place = divmod(column, GROUP)
            if facts.numbers == 1:
                codes = weights[tile, group * codes_of_group :]
                numbers = weights[tile, groups * codes_of_group + group * numbers_of_group :]
            else:
                numbers = weights[tile, group * facts.tile_bytes :]
                codes = numbers[numbers_of_group:]
            numbers = numbers[:numbers_of_group].view(torch.float16)
            first, second = float(numbers[lane]), float(numbers[-16 + lane])
            code = _code(codes, facts.bits, lane, place)
            if facts.centre is None:
                matrix[output, column] = first * code + second
            else:
                scale = second if facts.halves and place >= 16 else first
                matrix[output, column] = scale * (code - facts.centre)
    return matrix


def _code(codes: torch.Tensor, bits: int, lane: int, place: int) -> int:
    four, within = place // 4, 4 * lane + place % 4
    if bits == 8:
        return int(codes[64 * four + within])
    byte = int(codes[64 * (place // 8) + within])
    code = byte >> 4 if four % 2 else byte & 15
    if bits == 5:
        code += (int(codes[256 + within]) >> four & 1) << 4
    if bits == 6:
        code += (int(codes[256 + 64 * (place // 16) + within]) >> 2 * (four % 4) & 3) << 4
    return code


@pytest.mark.parametrize("form", FORMS)
def test_what_is_packed_is_what_is_dequantized(form: Form):
    blocks = _random_blocks(form)
    unpacked = _unpacked(pack(blocks, WeightRoom()), form)
    assert unpacked.shape == (48, INPUTS)
    assert torch.equal(unpacked[:OUTPUTS], blocks.dequantized())
    assert not unpacked[OUTPUTS:].any()


@pytest.mark.parametrize("form", FORMS)
def test_halves_take_turns_sixteen_by_sixteen(form: Form):
    blocks, bias = _random_blocks(form, outputs=64), torch.arange(64.0)
    linear = block_linear(blocks, WeightRoom(), bias, alternate=True)
    order = [*range(16), *range(32, 48), *range(16, 32), *range(48, 64)]
    assert torch.equal(_unpacked(linear.weights, form), blocks.dequantized()[order])
    assert linear.bias.tolist() == order


@pytest.mark.parametrize("form", FORMS)
def test_rows_come_out_of_what_is_packed(form: Form):
    blocks = _random_blocks(form)
    rows = torch.tensor([0, 36, 17, 15, 16, 0])
    got = unpacked_rows(pack(blocks, WeightRoom()), form, rows)
    assert torch.equal(got.codes, blocks.codes[rows])
    assert torch.equal(got.dequantized(), blocks.dequantized()[rows])


@pytest.mark.parametrize("form", sorted(HELD_BY_8_BITS))
def test_eight_bits_hold_what_fewer_with_one_scale_hold(form: Form):
    blocks = _random_blocks(form)
    wide = in_8_bits(blocks)
    assert wide.form == "Q8_0"
    assert torch.equal(wide.dequantized(), blocks.dequantized())


def test_a_bias_is_made_as_long_as_the_tiles():
    linear = block_linear(_random_blocks("Q8_0"), WeightRoom(), torch.ones(OUTPUTS))
    assert linear.bias.tolist() == [1.0] * OUTPUTS + [0.0] * (48 - OUTPUTS)


@pytest.mark.parametrize(("bits", "most"), [(4, 0.077), (8, 0.006)])
def test_rounding_loses_little(bits: Rounded, most: float):
    weight = _random()
    lost = quantized(weight, bits).dequantized() - weight
    assert float(lost.norm() / weight.norm()) < most


def test_four_bits_fit_better_than_evenly_spread_ones():
    weight = _random(outputs=256)
    groups = weight.view(256, -1, GROUP)
    least, greatest = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = (greatest - least) / 15
    spread = ((groups - least) / step).round() * step + least
    assert float((quantized(weight, 4).dequantized() - weight).norm()) < 0.97 * float((spread - groups).norm())


def test_a_matrix_is_rounded_row_by_row(monkeypatch: pytest.MonkeyPatch):
    weight = _random()
    every: tuple[Rounded, ...] = (4, 8)
    whole = {bits: quantized(weight, bits) for bits in every}
    monkeypatch.setattr(block_rounding, "WEIGHTS_AT_ONCE", 5 * INPUTS)
    for bits, blocks in whole.items():
        pieces = quantized(weight, bits)
        assert torch.equal(pieces.codes, blocks.codes)
        assert torch.equal(pieces.dequantized(), blocks.dequantized())


@pytest.mark.parametrize("bits", [4, 8])
def test_a_group_of_one_value_is_kept(bits: Rounded):
    weight = torch.zeros(2, 2 * GROUP)
    weight[0, :GROUP], weight[1, GROUP:] = 0.5, -3.0
    # As exactly as fp16 has its scale.
    torch.testing.assert_close(quantized(weight, bits).dequantized(), weight, rtol=2**-11, atol=0)


def test_blocks_are_codes_of_their_own_rounding():
    blocks = quantized(_random(), 8)
    assert torch.equal(quantized(blocks.dequantized(), 8).codes, blocks.codes)


@pytest.mark.parametrize("form", FORMS)
def test_matrices_join_by_their_outputs(form: Form):
    parts = [_random_blocks(form, outputs) for outputs in (16, 5)]
    whole = joined(parts).dequantized()
    assert torch.equal(whole, torch.cat([part.dequantized() for part in parts]))
