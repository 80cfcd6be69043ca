"""Loads the slim decoder from a Hugging Face model folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from services.inference.engine import load_failures
from services.inference.engine.attention import PromptAttention
from services.inference.engine.decoder import Decoder
from services.inference.engine.decoder_weights import WeightsDamaged, read_weights

if TYPE_CHECKING:
    from services.inference.engine.block_weights import Bits
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.model_source import ModelFolder
    from services.inference.engine.protocol import Weights
    from services.inference.progress import Progress

_WARM_UP_TOKENS = 8
_BLOCK_BITS: dict[str, Bits] = {"int8": 8, "int4": 4}


def load_decoder(folder: ModelFolder, config: DecoderConfig, weights: Weights, progress: Progress) -> Decoder:
    """Loads a folder's weights onto the CPU, as bf16 or fp32, and computes once with them.

    With `int8` and `int4` it holds bf16 for prompts, and the linears once more in blocks for replies.

    Raises:
        StartupError: They cannot be loaded or computed; the message says what to do.
    """
    dtype = torch.float32 if weights == "fp32" else torch.bfloat16
    try:
        bits = _BLOCK_BITS.get(weights)
        decoder = Decoder(config, read_weights(folder.path, config, dtype, bits, progress.reach))
        _warm_up(decoder)
    except MemoryError:
        raise load_failures.too_big(weights, "cpu") from None
    except (WeightsDamaged, SafetensorError, OSError, ValueError, KeyError):
        raise load_failures.damaged(folder) from None
    except RuntimeError as failure:
        raise load_failures.impossible(weights, "cpu") from failure
    return decoder


def _warm_up(decoder: Decoder) -> None:
    # The first run of a kernel is slow, and tells whether this machine has it.
    tokens = torch.zeros(_WARM_UP_TOKENS, dtype=torch.long)
    positions = torch.arange(_WARM_UP_TOKENS)
    logits = decoder.forward(tokens, positions, PromptAttention(decoder.config), positions[-1:])
    if not bool(torch.isfinite(logits).all()):
        raise load_failures.no_numbers()
