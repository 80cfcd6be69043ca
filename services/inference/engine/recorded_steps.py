"""Steps of one token a sequence, recorded at start for each shape and replayed: nothing of Python runs in between.

To launch the operations of a step one by one takes a CPU several times as long as a small model's weights take a GPU
to be read. A CUDA graph launches all of them at once. Where nothing can be recorded, the same step runs operation by
operation on the same memory.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import structlog
import torch

from services.inference.engine.step_input import StepInput
from services.rpc.log import where

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.inference.engine.step_input import Piece
    from services.inference.engine.step_shapes import StepShape

    Compute = Callable[[StepInput], torch.Tensor]
    """Returns the logits of each row's last token."""

_log = structlog.get_logger()


class Recorder(Protocol):
    """Records what a device is told to do."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Returns what does the same again on the same memory.

        Raises:
            RuntimeError: It cannot be recorded.
        """


class CudaRecorder:
    """Records CUDA graphs, which share the memory that they need in between.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory = torch.cuda.graph_pool_handle()
        stream: Callable[..., torch.cuda.Stream] = torch.cuda.Stream  # untyped
        self._stream = stream(device)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """As `Recorder.record`."""
        # Libraries choose their kernels and take their memory at the first call, which cannot be recorded.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            work()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory, stream=self._stream, capture_error_mode="thread_local"):
            work()
        return graph.replay


class RecordedSteps:
    """Steps by their shape.

    Args:
        compute: Computes one.
        most_rows: Of any shape.
        logits: What the logits of a row are like: of its size, dtype and device.
    """

    def __init__(self, compute: Compute, most_rows: int, logits: torch.Tensor) -> None:
        self._compute = compute
        self._device = logits.device
        # One for all shapes: each is read before the next is computed.
        self._logits = logits.new_zeros((most_rows, *logits.shape))
        self._steps: dict[StepShape, tuple[StepInput, Callable[[], None]]] = {}

    @property
    def shapes(self) -> tuple[StepShape, ...]:
        """Those that have been recorded."""
        return tuple(self._steps)

    @torch.inference_mode()
    def record(
        self, recorder: Recorder, shapes: Sequence[StepShape], most_seconds: float, tell: Callable[[str], None]
    ) -> None:
        """Records shapes in their order until all are or the time is up. What cannot be recorded is told in the log.

        Args:
            recorder: How.
            shapes: Which.
            most_seconds: No more are begun after that.
            tell: Told how far it is.
        """
        began = time.monotonic()
        for shape in shapes:
            if time.monotonic() - began >= most_seconds:
                break
            tell(f"recording decode steps: {len(self._steps)} of {len(shapes)}")
            try:
                self._record(recorder, shape)
            except RuntimeError as failure:
                _log.warning("decode steps cannot be recorded and run slower", failure=where(failure))
                break
        _log.info(
            "decode steps recorded",
            recorded=len(self._steps),
            shapes=len(shapes),
            seconds=round(time.monotonic() - began, 1),
        )

    def _record(self, recorder: Recorder, shape: StepShape) -> None:
        given = StepInput(shape, self._device)
        given.fill(())
        logits = self._logits[: shape.rows]

        def work() -> None:
            logits.copy_(self._compute(given))

        self._steps[shape] = given, recorder.record(work)

    @torch.inference_mode()
    def run(self, shape: StepShape, pieces: Sequence[Piece]) -> torch.Tensor:
        """Computes a step, by replay where its shape was recorded.

        Returns:
            The logits of each piece's last token; to be read before the next call.
        """
        step = self._steps.get(shape)
        if step is None:
            given = StepInput(shape, self._device)
            given.fill(pieces)
            return self._compute(given)[: len(pieces)]
        given, replay = step
        given.fill(pieces)
        replay()
        return self._logits[: len(pieces)]
