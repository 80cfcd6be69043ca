"""Which runner a loaded model gets, and how much it may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from services.inference.engine import load_failures
from services.inference.engine.batched_runner import BatchedRunner
from services.inference.engine.compiled_decoder import CompiledDecoder
from services.inference.engine.decoder import Decoder
from services.inference.engine.kv_cache import kv_shape
from services.inference.engine.memory import free_bytes

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
    if not isinstance(model, Decoder):
        # Takes seconds to import, and most models need it not.
        from services.inference.engine.transformers_runner import TransformersRunner  # noqa: PLC0415 - see above

        runner = TransformersRunner(model, prefix_cache_tokens=prefix_cache_tokens)
        return runner, Limits(context, max_running * context)
    if kv_cache_tokens is None:
        per_token = kv_shape(model.config, model.dtype, model.device).bytes_per_token
        kv_cache_tokens = min(max_running * context, int(free_bytes() * _SHARE_OF_FREE_MEMORY) // per_token)
    limits = Limits(min(context, kv_cache_tokens), kv_cache_tokens)
    blocks = model.weights.blocks
    compiled = None
    if blocks is not None:
        try:
            compiled = CompiledDecoder(
                model.config,
                model.weights,
                blocks,
                threads=torch.get_num_threads(),
                context_tokens=limits.context_tokens,
            )
        except (RuntimeError, OSError) as failure:
            # What LLVM says of a processor that it cannot compile for, or the system of a library that is not there.
            raise load_failures.impossible(loaded.info.weights, "cpu") from failure
    return BatchedRunner(
        model,
        compiled,
        max_running=max_running,
        context_tokens=limits.context_tokens,
        kv_cache_tokens=limits.kv_cache_tokens,
        prefix_cache_tokens=prefix_cache_tokens,
    ), limits
