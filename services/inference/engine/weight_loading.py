"""Makes a decoder's weights of what a model's files hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from services.inference.engine.block_forms import FORMS
from services.inference.engine.block_linears import DecoderBlocks, LayerBlocks, block_linear
from services.inference.engine.block_packing import unpacked_rows
from services.inference.engine.block_rounding import quantized
from services.inference.engine.decoder_weights import DecoderLinears, LayerLinears
from services.inference.engine.key_balance import balancing_factors
from services.inference.engine.linear import Linear
from services.inference.engine.token_table import PackedTable
from services.inference.engine.weight_reader import Place, WeightReader
from services.inference.engine.weight_room import WeightRoom

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.block_forms import Form
    from services.inference.engine.block_linears import BlockLinear
    from services.inference.engine.block_rounding import Rounded
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.decoder_weights import DecoderWeights
    from services.inference.engine.protocol import Device
    from services.inference.engine.token_table import TokenTable
    from services.inference.engine.weight_reader import LinearParts
    from services.inference.engine.weight_source import WeightSource

_FEWER_THAN_8 = {form for form, facts in FORMS.items() if facts.bits < 8}


def read_linears(
    source: WeightSource,
    config: DecoderConfig,
    dtype: torch.dtype,
    reach: Callable[[int, int], None] | None = None,
    device: Device = "cpu",
) -> tuple[DecoderWeights[torch.Tensor], DecoderLinears]:
    """Reads weights.

    Args:
        source: Where they are.
        config: The model's.
        dtype: What weights are held in.
        reach: Told how many bytes of how many have been read, each time there are more.
        device: Where they are held.

    Raises:
        WeightsDamaged: A tensor is missing or not of its shape.
        OSError, ValueError, KeyError, safetensors.SafetensorError: A file cannot be read.
    """

    def make(parts: LinearParts) -> Linear:
        return Linear(torch.cat(parts.weights()), parts.bias())

    reader = WeightReader(source, config, Place(dtype, device), reach)
    embedding = reader.take(reader.find_embedding())
    head = Linear(embedding) if config.tied_head else make(reader.head())
    layers = reader.layers(make)
    linears = tuple(LayerLinears(*layer) for _, layer in layers)
    return reader.weights(embedding, [norms for norms, _ in layers]), DecoderLinears(linears, head)


def read_blocks(
    source: WeightSource,
    config: DecoderConfig,
    dtype: torch.dtype,
    bits: Rounded,
    reach: Callable[[int, int], None] | None = None,
) -> tuple[DecoderWeights[TokenTable], DecoderBlocks]:
    """Reads weights, all linears as blocks.

    Args:
        source: Where they are.
        config: The model's.
        dtype: What the embedding and the norms are held in.
        bits: Of the linears' weights, but for the head, which has 8. Blocks that they are stored in are taken as they
            are: of 4 to 6 bits where 4 are asked for, of 5 to 8 where 8 are; those of 8 also where others have fewer.
        reach: As for `read_linears`.

    Raises:
        WeightsDamaged, OSError, ValueError, KeyError, safetensors.SafetensorError: As for `read_linears`.
    """
    reader = WeightReader(source, config, Place(dtype, "cpu"), reach)
    room = WeightRoom()
    # Where some are in few bits, the others were to have more: so they do here.
    few = any(source.form_of(name) in _FEWER_THAN_8 for name in source.names)
    most: Rounded = 8 if few else bits

    def make(parts: LinearParts) -> BlockLinear:
        blocks = parts.blocks(_taken(bits, most)) or quantized(torch.cat(parts.weights()), most)
        bias = parts.bias()
        if bias is not None and parts.names[0].endswith("q_proj") and not config.heads_normed:
            factors = balancing_factors(config, parts.weights(), bias)
            blocks, bias = blocks.scaled(factors), bias * factors
        return block_linear(blocks, room, bias, alternate=len(parts.names) == 2)

    name = reader.find_embedding()
    # What takes longest comes before the layers, so that the share that is told does not stand still at its end.
    head = reader.head()
    head_blocks = head.blocks(_taken(bits, 8))
    head_linear = block_linear(head_blocks or quantized(torch.cat(head.weights()), 8), room)
    if config.tied_head and head_blocks is not None:
        embedding = _rows_of(head_linear, source.shape(name), dtype)
    else:
        embedding = source.take_table(name, dtype)
    # Not needed any more, and a large part of what is held meanwhile.
    del head_blocks
    layers = reader.layers(make)
    linears = tuple(LayerBlocks(*layer) for _, layer in layers)
    return reader.weights(embedding, [norms for norms, _ in layers]), DecoderBlocks(linears, head_linear)


def _rows_of(head: BlockLinear, shape: tuple[int, ...], dtype: torch.dtype) -> TokenTable:
    """Returns the embedding that a head is as well."""
    vocabulary, hidden_size = shape
    weights, form = head.weights, head.form
    return PackedTable((vocabulary, hidden_size), dtype, lambda rows: unpacked_rows(weights, form, rows).dequantized())


def _taken(bits: Rounded, most: Rounded) -> set[Form]:
    """Returns which blocks are taken as they are, where at least `bits` are asked for and others get `most`."""
    least = 4 if bits == 4 else 5
    return {form for form, facts in FORMS.items() if least <= facts.bits <= (8 if most == 8 else 6)}
