"""Which runner a loaded model gets, and how much it may hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from services.inference.engine import load_failures
from services.inference.engine.batched_runner import BatchedRunner
from services.inference.engine.block_model import BlockModel
from services.inference.engine.compiled_decoder import CompiledDecoder
from services.inference.engine.compiled_runner import CompiledRunner
from services.inference.engine.decoder import Decoder
from services.inference.engine.kv_buffer import BufferShape
from services.inference.engine.kv_cache import kv_shape
from services.inference.engine.memory import free_bytes
from services.inference.engine.paged_runner import PagedRunner
from services.inference.engine.recorded_steps import CudaRecorder
from services.inference.engine.sequence_buffers import SequenceBuffers
from services.inference.engine.sequence_cache import SequenceCache
from services.inference.engine.sequence_pages import SequencePages
from services.inference.engine.step_shapes import MOST_PLACES, StepShapes

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.recorded_steps import Recorder
    from services.inference.engine.runner import Runner

_SHARE_OF_FREE_MEMORY = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """What sequences have room for."""

    context_tokens: int
    """Longest sequence."""
    kv_cache_tokens: int
    """All running sequences together."""
    step_prompt_tokens: int | None = None
    """Of prompts, in one step; None: as many as suit a CPU."""


@dataclass(frozen=True, slots=True)
class Readying:
    """What the start does on a GPU so that steps are fast."""

    recording_seconds: float
    """How long it may record steps; 0: none are."""
    tell: Callable[[str], None]
    """Told how far it is."""
    fuse: bool = False
    """Whether torch compiles their small operations to a few."""


def make_runner(
    loaded: LoadedModel,
    max_running: int,
    kv_cache_tokens: int | None,
    prefix_cache_tokens: int,
    readying: Readying | None = None,
) -> tuple[Runner, Limits]:
    """Returns the runner of a model, and its limits: a context that would not fit the memory is cut to what does.

    Args:
        loaded: The model.
        max_running: Most sequences at the same time.
        kv_cache_tokens: Most tokens of running sequences; None: as many as half of the memory holds that is free.
        prefix_cache_tokens: Most tokens of ended ones that are kept.
        readying: What is done on a GPU so that steps are fast; None: nothing.

    Raises:
        StartupError: The model's step cannot be compiled for this machine, or there is too little memory; the message
            says what to do.
    """
    context = loaded.info.context_tokens
    model = loaded.model
    if not isinstance(model, (Decoder, BlockModel)):
        # Takes seconds to import, and most models need it not.
        from services.inference.engine.transformers_runner import TransformersRunner  # noqa: PLC0415 - see above

        runner = TransformersRunner(model, prefix_cache_tokens=prefix_cache_tokens)
        return runner, Limits(context, max_running * context)
    if isinstance(model, BlockModel):
        room = BufferShape.of(model.config)
        limits = _limits(context, max_running, kv_cache_tokens, free_bytes, room.bytes_per_token)
        buffers = SequenceBuffers(
            room,
            context_tokens=limits.context_tokens,
            kv_cache_tokens=limits.kv_cache_tokens,
            prefix_cache_tokens=prefix_cache_tokens,
        )
        return CompiledRunner(_compiled(model, loaded, limits), buffers), limits
    device = model.device
    on_gpu = device.type == "cuda"
    free = (lambda: torch.cuda.mem_get_info(device)[0]) if on_gpu else free_bytes
    shape = kv_shape(model.config, model.dtype, device)
    limits = _limits(context, max_running, kv_cache_tokens, free, shape.bytes_per_token)
    if on_gpu:
        paged = paged_runner(model, limits, max_running, prefix_cache_tokens)
        if readying is not None:
            ready(paged, CudaRecorder(device), readying)
        return paged, replace(limits, step_prompt_tokens=MOST_PLACES)
    cache = SequenceCache(
        shape,
        max_running=max_running,
        context_tokens=limits.context_tokens,
        kv_cache_tokens=limits.kv_cache_tokens,
        prefix_cache_tokens=prefix_cache_tokens,
    )
    return BatchedRunner(model, cache), limits


def _limits(
    context: int, max_running: int, kv_cache_tokens: int | None, free: Callable[[], int], bytes_per_token: int
) -> Limits:
    if kv_cache_tokens is None:
        most = int(free() * _SHARE_OF_FREE_MEMORY) // bytes_per_token
        kv_cache_tokens = min(max_running * context, most)
    return Limits(min(context, kv_cache_tokens), kv_cache_tokens)


def ready(runner: PagedRunner, recorder: Recorder, readying: Readying) -> None:
    """Makes a runner's steps fast, as far as that can be."""
    if readying.fuse:
        readying.tell("fusing operations")
        runner.fuse()
    if readying.recording_seconds > 0:
        runner.record(recorder, readying.recording_seconds, readying.tell)


def paged_runner(decoder: Decoder, limits: Limits, max_running: int, prefix_cache_tokens: int) -> PagedRunner:
    """Returns a decoder's runner in steps of fixed shapes, none of which is recorded yet.

    Raises:
        StartupError: Its keys and values do not fit the memory.
    """
    shape = kv_shape(decoder.config, decoder.dtype, decoder.device)
    try:
        cache = SequencePages(
            shape,
            context_tokens=limits.context_tokens,
            kv_cache_tokens=limits.kv_cache_tokens,
            prefix_cache_tokens=prefix_cache_tokens,
        )
    except (torch.OutOfMemoryError, MemoryError):
        raise load_failures.no_room(limits.kv_cache_tokens + prefix_cache_tokens) from None
    shapes = StepShapes(
        most_rows=max_running,
        most_context=limits.context_tokens,
        most_tokens=limits.kv_cache_tokens,
        queries_a_key=decoder.config.heads // decoder.config.kv_heads,
        context_worth_a_step=decoder.parameters * decoder.dtype.itemsize // shape.bytes_per_token,
    )
    return PagedRunner(decoder, cache, shapes)


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
