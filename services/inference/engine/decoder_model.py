"""Loads a model of a family that has a decoder of our own from its folder."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from services.inference.engine import load_failures
from services.inference.engine.attention import PromptAttention
from services.inference.engine.block_model import BlockModel
from services.inference.engine.decoder import Decoder
from services.inference.engine.decoder_weights import WeightsDamaged
from services.inference.engine.weight_loading import read_blocks, read_linears
from services.inference.engine.weight_source import open_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.inference.engine.block_rounding import Rounded
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.model_source import ModelFolder
    from services.inference.engine.protocol import Device, Weights
    from services.inference.progress import Progress

_WARM_UP_TOKENS = 8
_BLOCK_BITS: dict[str, Rounded] = {"int8": 8, "int4": 4}


def load_decoder(
    folder: ModelFolder, config: DecoderConfig, weights: Weights, progress: Progress, device: Device = "cpu"
) -> Decoder:
    """Loads a folder's weights as bf16 or fp32, and computes once with them.

    Raises:
        StartupError: They cannot be loaded or computed; the message says what to do.
    """
    dtype = torch.float32 if weights == "fp32" else torch.bfloat16
    with _told(folder, weights, device):
        with open_weights(folder.path) as source:
            decoder = Decoder(config, *read_linears(source, config, dtype, progress.reach, device))
        _warm_up(decoder)
    return decoder


def load_block_model(folder: ModelFolder, config: DecoderConfig, weights: Weights, progress: Progress) -> BlockModel:
    """Loads a folder's weights onto the CPU, its linears in blocks of 4 or 8 bits as `int4` and `int8` say.

    Raises:
        StartupError: They cannot be loaded; the message says what to do.
    """
    with _told(folder, weights, "cpu"), open_weights(folder.path) as source:
        return BlockModel(config, *read_blocks(source, config, torch.bfloat16, _BLOCK_BITS[weights], progress.reach))


@contextmanager
def _told(folder: ModelFolder, weights: Weights, device: Device) -> Iterator[None]:
    """Turns what goes wrong into what whoever starts the service is told."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise load_failures.too_big(weights, device) from None
    except (WeightsDamaged, SafetensorError, OSError, ValueError, KeyError):
        raise load_failures.damaged(folder) from None
    except RuntimeError as failure:
        raise load_failures.impossible(weights, device) from failure


def _warm_up(decoder: Decoder) -> None:
    # The first run of a kernel is slow, and tells whether this machine has it.
    tokens = torch.zeros(_WARM_UP_TOKENS, dtype=torch.long, device=decoder.device)
    positions = torch.arange(_WARM_UP_TOKENS, device=decoder.device)
    logits = decoder.forward(tokens, positions, PromptAttention(decoder.config), positions[-1:])
    if not bool(torch.isfinite(logits).all()):
        raise load_failures.no_numbers()
