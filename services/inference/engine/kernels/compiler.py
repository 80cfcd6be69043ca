"""Compiles a model's decode step for the processor of this machine."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from llvmlite import binding, ir

from services.inference.engine.kernels.crew_kernel import write_lead, write_serve
from services.inference.engine.kernels.processor import Processor
from services.inference.engine.kernels.step_kernel import write_step

if TYPE_CHECKING:
    from services.inference.engine.kernels.step_kernel import StepShape

_OPTIMIZATION = 2


class CompiledStep:
    """A decode step as machine code.

    Takes some tenths of a second to make.

    Args:
        shape: Of the model.
        features: What the processor is taken to have, as LLVM names it; None: what it has.
    """

    def __init__(self, shape: StepShape, features: str | None = None) -> None:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        own = binding.get_host_cpu_features()
        names = frozenset(name for name, has in own.items() if has)
        if features is not None:
            names = frozenset(part[1:] for part in features.split(",") if part.startswith("+"))
        target = binding.Target.from_default_triple()
        x86 = target.name.startswith("x86")
        machine = target.create_target_machine(
            cpu=binding.get_host_cpu_name() if features is None else "",
            # Vectors of 512 bits are not slower where a processor has them, whatever LLVM assumes of some.
            features=(own.flatten() if features is None else features) + (",-prefer-256-bit" if x86 else ""),
            opt=_OPTIMIZATION,
        )
        module = ir.Module("step")
        module.triple = target.triple
        processor = Processor(names, x86=x86)
        step = write_step(module, shape, processor)
        write_lead(module, step)
        write_serve(module, step, x86=x86)
        parsed = binding.parse_assembly(str(module))
        parsed.verify()
        passes = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(_OPTIMIZATION))
        passes.getModulePassManager().run(parsed, passes)
        # Holds the machine code.
        self._engine: Any = binding.create_mcjit_compiler(parsed, machine)
        self._engine.finalize_object()
        find = self._engine.get_function_address
        self._lead = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(find("lead"))
        self._serve = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(find("serve"))

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
