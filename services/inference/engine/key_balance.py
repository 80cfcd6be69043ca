"""Shares out between queries and keys what makes some of their numbers far larger than others.

Keys are rounded, 32 numbers with one scale, and so are queries. Where keys have a bias (Qwen 2) some of its numbers
are a hundred times the others, which are then hardly told apart. A number of a head's keys can be made smaller where
that of its queries is made as much larger: their products stay the same. Rotation mixes a number with the one half a
head further on, so these two change alike. How large numbers get is estimated from the weights, as if inputs were
normal. Half of the ratio is shared out, as SmoothQuant does between inputs and weights (Xiao et al. 2022), in powers
of two: exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from services.inference.engine.decoder_config import DecoderConfig

_LEAST = 1e-12
"""Of a sum of squares: weights can be zeros."""
_MOST = 8
"""Powers of two that a number is changed by: scales are fp16."""


def balancing_factors(config: DecoderConfig, weights: list[torch.Tensor], bias: torch.Tensor) -> torch.Tensor:
    """Returns what the outputs of a layer's linear for queries, keys and values are to be multiplied by.

    Args:
        config: The model's, whose heads are not normed.
        weights: Of queries, keys and values, each of shape `(outputs, inputs)`.
        bias: Of all of them, shape `(all outputs,)`.

    Returns:
        Powers of two, fp32, shape `(all outputs,)`.
    """
    biases = torch.split(bias, [len(weight) for weight in weights])
    queries, keys = (
        _squares(weight, own).view(config.kv_heads, -1, 2, config.head_size // 2).mean(dim=(1, 2))
        for weight, own in zip(weights[:2], biases[:2], strict=True)
    )
    powers = (keys / queries).log2() / 4
    powers = (powers - powers.mean(dim=-1, keepdim=True)).round().clamp(-_MOST, _MOST)
    of_pairs = torch.exp2(powers).repeat(1, 2)
    of_queries = of_pairs.repeat_interleave(config.heads // config.kv_heads, dim=0)
    return torch.cat([of_queries.flatten(), 1 / of_pairs.flatten(), torch.ones(len(weights[2]))])


def _squares(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Returns for each output its mean square where inputs are normal."""
    return (weight.float().square().sum(dim=-1) + bias.float().square()).clamp_min(_LEAST)
