"""Compiles a model's decode step for the processor of this machine."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from services.inference.engine.kernels.crew_kernel import write_lead, write_serve
from services.inference.engine.kernels.step_kernel import write_step
from services.inference.engine.kernels.system_calls import find_system_calls
from services.inference.engine.kernels.waiting import Waiting
from services.kernels.machine_code import Target

if TYPE_CHECKING:
    from services.inference.engine.kernels.step_kernel import StepShape


class CompiledStep:
    """A decode step as machine code.

    Takes some tenths of a second to make.

    Args:
        shape: Of the model.
        features: What the processor is taken to have, as LLVM names it; None: what it has.
    """

    def __init__(self, shape: StepShape, features: str | None = None) -> None:
        target = Target(features)
        module = target.module("step")
        calls = find_system_calls()
        waiting = Waiting(module, calls, x86=target.processor.x86)
        step = write_step(module, shape, target.processor, waiting)
        write_lead(module, step, calls)
        write_serve(module, step, calls, waiting)
        # Holds the machine code.
        self._code = target.compile(module)
        self._lead = self._code.function("lead", [ctypes.c_void_p])
        self._serve = self._code.function("serve", [ctypes.c_void_p, ctypes.c_int64])

    def lead(self, table: int) -> None:
        """Runs the step that the table at an address describes, together with those who serve it.

        Where the table says to stop, it only lets them know.
        """
        self._lead(table)

    def serve(self, table: int, thread: int) -> None:
        """Runs a thread's share of each step, until the table says to stop.

        Args:
            table: Address of the `StepField`s.
            thread: Number of the thread, from 1 on; 0 leads.
        """
        self._serve(table, thread)
