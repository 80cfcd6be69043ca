"""Which runner a loaded model gets, and how much it may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from services.inference.engine import load_failures
from services.inference.engine.batched_runner import BatchedRunner
from services.inference.engine.block_model import BlockModel
from services.inference.engine.compiled_decoder import CompiledDecoder
from services.inference.engine.compiled_runner import CompiledRunner
from services.inference.engine.decoder import Decoder
from services.inference.engine.kv_cache import kv_shape
from services.inference.engine.memory import free_bytes
from services.inference.engine.sequence_buffers import SequenceBuffers
from services.inference.engine.sequence_cache import SequenceCache

if TYPE_CHECKING:
    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.runner import Runner

_SHARE_OF_FREE_MEMORY = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """What sequences have room for."""

    context_tokens: int
    """Longest sequence."""
    kv_cache_tokens: int
    """All running sequences together."""


def make_runner(
    loaded: LoadedModel, max_running: int, kv_cache_tokens: int | None, prefix_cache_tokens: int
) -> tuple[Runner, Limits]:
    """Returns the runner of a model, and its limits: a context that would not fit the memory is cut to what does.

    Raises:
        StartupError: The model's step cannot be compiled for this machine; the message says what to do.
    """
    context = loaded.info.context_tokens
    model = loaded.model
    if not isinstance(model, (Decoder, BlockModel)):
        # Takes seconds to import, and most models need it not.
        from services.inference.engine.transformers_runner import TransformersRunner  # noqa: PLC0415 - see above

        runner = TransformersRunner(model, prefix_cache_tokens=prefix_cache_tokens)
        return runner, Limits(context, max_running * context)
    # The compiled step keeps keys and values in bf16.
    plain = model if isinstance(model, Decoder) else None
    dtype, device = (plain.dtype, plain.device) if plain else (torch.bfloat16, torch.device("cpu"))
    shape = kv_shape(model.config, dtype, device)
    if kv_cache_tokens is None:
        most = int(free_bytes() * _SHARE_OF_FREE_MEMORY) // shape.bytes_per_token
        kv_cache_tokens = min(max_running * context, most)
    limits = Limits(min(context, kv_cache_tokens), kv_cache_tokens)
    if isinstance(model, BlockModel):
        buffers = SequenceBuffers(
            shape,
            context_tokens=limits.context_tokens,
            kv_cache_tokens=limits.kv_cache_tokens,
            prefix_cache_tokens=prefix_cache_tokens,
        )
        return CompiledRunner(_compiled(model, loaded, limits), buffers), limits
    cache = SequenceCache(
        shape,
        max_running=max_running,
        context_tokens=limits.context_tokens,
        kv_cache_tokens=limits.kv_cache_tokens,
        prefix_cache_tokens=prefix_cache_tokens,
    )
    return BatchedRunner(model, cache), limits


def _compiled(model: BlockModel, loaded: LoadedModel, limits: Limits) -> CompiledDecoder:
    try:
        decoder = CompiledDecoder(model, threads=torch.get_num_threads(), context_tokens=limits.context_tokens)
    except (RuntimeError, OSError) as failure:
        # What LLVM says of a processor that it cannot compile for, or the system of a library that is not there.
        raise load_failures.impossible(loaded.info.weights, "cpu") from failure
    # What is left to torch is small; its own threads would look for more of it on the processors that a step needs.
    torch.set_num_threads(1)
    if not decoder.computes():
        decoder.close()
        raise load_failures.no_numbers()
    return decoder
