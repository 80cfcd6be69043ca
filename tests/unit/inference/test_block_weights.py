"""Weights in blocks: rounding, the layout the compiled step reads, and the file they are kept in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from services.inference.engine import block_weights
from services.inference.engine.block_weights import GROUP, Blocks, block_linear, joined, pack, quantized
from services.inference.engine.weight_room import WeightRoom

if TYPE_CHECKING:
    from services.inference.engine.block_weights import Bits

OUTPUTS = 37
INPUTS = 96


def _random(outputs: int = OUTPUTS, seed: int = 1) -> torch.Tensor:
    return torch.randn(outputs, INPUTS, generator=torch.Generator().manual_seed(seed))


def _random_blocks(bits: Bits, outputs: int = OUTPUTS) -> Blocks:
    generator = torch.Generator().manual_seed(2)
    codes = torch.randint(0, 2**bits, (outputs, INPUTS), dtype=torch.uint8, generator=generator)
    scales, zeros = torch.randn(2, outputs, INPUTS // GROUP, generator=generator).half()
    if bits == 6:
        return Blocks(bits, codes, torch.randn(outputs, 2 * INPUTS // GROUP, generator=generator).half(), None)
    return Blocks(bits, codes, scales, zeros) if bits == 4 else Blocks(bits, codes, scales, None)


def _unpacked(weights: torch.Tensor, bits: Bits) -> torch.Tensor:
    """Reads a packed matrix a weight at a time, as the layout's description has it."""
    codes_of_group, numbers_of_group = {4: (256, 64), 6: (384, 64), 8: (512, 32)}[bits]
    tiles, groups = len(weights), weights.shape[1] // (codes_of_group + numbers_of_group)
    matrix = torch.zeros(16 * tiles, GROUP * groups)
    for output in range(16 * tiles):
        tile, lane = divmod(output, 16)
        for column in range(GROUP * groups):
            group, place = divmod(column, GROUP)
            if bits == 8:
                codes = weights[tile, group * codes_of_group :]
                numbers = weights[tile, groups * codes_of_group + group * numbers_of_group :]
            else:
                numbers = weights[tile, group * (codes_of_group + numbers_of_group) :]
                codes = numbers[numbers_of_group:]
            numbers = numbers[:numbers_of_group].view(torch.float16)
            first, second = float(numbers[lane]), float(numbers[-16 + lane])
            if bits == 8:
                matrix[output, column] = first * (int(codes[64 * (place // 4) + 4 * lane + place % 4]) - 128)
                continue
            byte = int(codes[64 * (place // 8) + 4 * lane + place % 4])
            code = byte >> 4 if place % 8 >= 4 else byte & 15
            if bits == 4:
                matrix[output, column] = first * code + second
            else:
                byte = int(codes[256 + 64 * (place // 16) + 4 * lane + place % 4])
                code += (byte >> 2 * (place // 4 % 4) & 3) << 4
                matrix[output, column] = (second if place >= 16 else first) * (code - 32)
    return matrix


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_what_is_packed_is_what_is_dequantized(bits: Bits):
    blocks = _random_blocks(bits)
    unpacked = _unpacked(pack(blocks, WeightRoom()), bits)
    assert unpacked.shape == (48, INPUTS)
    assert torch.equal(unpacked[:OUTPUTS], blocks.dequantized())
    assert not unpacked[OUTPUTS:].any()


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_halves_take_turns_sixteen_by_sixteen(bits: Bits):
    blocks, bias = _random_blocks(bits, outputs=64), torch.arange(64.0)
    linear = block_linear(blocks, WeightRoom(), bias, alternate=True)
    order = [*range(16), *range(32, 48), *range(16, 32), *range(48, 64)]
    assert torch.equal(_unpacked(linear.weights, bits), blocks.dequantized()[order])
    assert linear.bias.tolist() == order


def test_a_bias_is_made_as_long_as_the_tiles():
    linear = block_linear(_random_blocks(8), WeightRoom(), torch.ones(OUTPUTS))
    assert linear.bias.tolist() == [1.0] * OUTPUTS + [0.0] * (48 - OUTPUTS)


@pytest.mark.parametrize(("bits", "most"), [(4, 0.077), (8, 0.006)])
def test_rounding_loses_little(bits: Bits, most: float):
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
    whole = [quantized(weight, bits) for bits in (4, 8)]
    monkeypatch.setattr(block_weights, "_WEIGHTS_AT_ONCE", 5 * INPUTS)
    for blocks in whole:
        pieces = quantized(weight, blocks.bits)
        assert torch.equal(pieces.codes, blocks.codes)
        assert torch.equal(pieces.dequantized(), blocks.dequantized())


@pytest.mark.parametrize("bits", [4, 8])
def test_a_group_of_one_value_is_kept(bits: Bits):
    weight = torch.zeros(2, 2 * GROUP)
    weight[0, :GROUP], weight[1, GROUP:] = 0.5, -3.0
    # As exactly as fp16 has its scale.
    torch.testing.assert_close(quantized(weight, bits).dequantized(), weight, rtol=2**-11, atol=0)


def test_blocks_are_codes_of_their_own_rounding():
    blocks = quantized(_random(), 8)
    assert torch.equal(quantized(blocks.dequantized(), 8).codes, blocks.codes)


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_matrices_join_by_their_outputs(bits: Bits):
    parts = [_random_blocks(bits, outputs) for outputs in (16, 5)]
    whole = joined(parts).dequantized()
    assert torch.equal(whole, torch.cat([part.dequantized() for part in parts]))
