"""What is shared out between queries and keys changes no product of them, and leaves less to lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import Qwen2Config

from services.inference.engine.decoder_config import read_config
from services.inference.engine.key_balance import balancing_factors

if TYPE_CHECKING:
    from services.inference.engine.decoder_config import DecoderConfig

HEADS, KV_HEADS, SIZE, HIDDEN = 4, 2, 32, 64
GROUP = 32


@pytest.fixture
def config() -> DecoderConfig:
    read = read_config(
        Qwen2Config(
            hidden_size=HIDDEN, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=SIZE, vocab_size=40
        )
    )
    assert read is not None
    return read


class Layer:
    """A linear for queries, keys and values, in which a number of one head's keys stands out, and its fellow."""

    def __init__(self, loud: float) -> None:
        chance = torch.Generator().manual_seed(1)
        rows = [HEADS * SIZE, KV_HEADS * SIZE, KV_HEADS * SIZE]
        self.weights = [torch.randn(count, HIDDEN, generator=chance) / HIDDEN**0.5 for count in rows]
        self.bias = torch.randn(sum(rows), generator=chance)
        self.inputs = torch.randn(50, HIDDEN, generator=chance)
        for place in (3, 3 + SIZE // 2):
            self.bias[HEADS * SIZE + SIZE + place] = loud

    def of(self, factors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns queries, keys and values, each of shape `(tokens, heads, size)`."""
        out = (self.inputs @ torch.cat(self.weights).T + self.bias) * factors
        queries, keys, values = torch.split(out, [len(weight) for weight in self.weights], dim=-1)
        return queries.view(-1, HEADS, SIZE), keys.view(-1, KV_HEADS, SIZE), values.view(-1, KV_HEADS, SIZE)


def _products(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    return torch.einsum("qhd,khd->hqk", queries, keys.repeat_interleave(HEADS // KV_HEADS, dim=1))


def _rounded(values: torch.Tensor) -> torch.Tensor:
    groups = values.unflatten(-1, (-1, GROUP))
    step = groups.abs().amax(dim=-1, keepdim=True) / 127
    return ((groups / step).round() * step).flatten(-2)


def _factors(config: DecoderConfig, layer: Layer) -> torch.Tensor:
    return balancing_factors(config, layer.weights, layer.bias)


def test_products_and_values_stay_the_same(config: DecoderConfig):
    layer = Layer(loud=100.0)
    queries, keys, values = layer.of(torch.ones(1))
    balanced = layer.of(_factors(config, layer))
    assert not torch.equal(balanced[1], keys)
    torch.testing.assert_close(_products(*balanced[:2]), _products(queries, keys))
    assert torch.equal(balanced[2], values)


def test_what_is_rotated_together_changes_alike_and_by_powers_of_two(config: DecoderConfig):
    factors = _factors(config, Layer(loud=100.0))
    heads = factors[: (HEADS + KV_HEADS) * SIZE].view(-1, 2, SIZE // 2)
    assert torch.equal(heads[:, 0], heads[:, 1])
    assert torch.equal(factors.log2(), factors.log2().round())


def test_less_is_lost_where_a_number_of_keys_stands_out(config: DecoderConfig):
    layer = Layer(loud=100.0)
    wanted = _products(*layer.of(torch.ones(1))[:2])

    def lost(factors: torch.Tensor) -> float:
        queries, keys, _ = layer.of(factors)
        got = _products(_rounded(queries), _rounded(keys))
        return float((got - wanted)[HEADS // KV_HEADS :].square().mean())

    assert lost(_factors(config, layer)) < 0.5 * lost(torch.ones(1))


def test_weights_of_zeros_have_factors_too(config: DecoderConfig):
    layer = Layer(loud=0.0)
    for weight in layer.weights[:2]:
        weight.zero_()
    layer.bias.zero_()
    assert torch.equal(_factors(config, layer), torch.ones((HEADS + 2 * KV_HEADS) * SIZE))
