"""Compiles a module of LLVM's intermediate code for the processor of this machine."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from llvmlite import binding, ir

from services.kernels.processor import Processor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_OPTIMIZATION = 2


class Target:
    """What is compiled for.

    Args:
        features: What the processor is taken to have, as LLVM names it; None: what it has.
    """

    def __init__(self, features: str | None = None) -> None:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        own = binding.get_host_cpu_features()
        names = frozenset(name for name, has in own.items() if has)
        if features is not None:
            names = frozenset(part[1:] for part in features.split(",") if part.startswith("+"))
        target = binding.Target.from_default_triple()
        x86 = target.name.startswith("x86")
        self._triple = target.triple
        self._machine = target.create_target_machine(
            cpu=binding.get_host_cpu_name() if features is None else "",
            # Vectors of 512 bits are not slower where a processor has them, whatever LLVM assumes of some.
            features=(own.flatten() if features is None else features) + (",-prefer-256-bit" if x86 else ""),
            opt=_OPTIMIZATION,
        )
        self.processor = Processor(names, x86=x86)
        """What kernels are written for."""

    def module(self, name: str) -> Any:
        """Returns an empty module to write functions into."""
        module = ir.Module(name)
        module.triple = self._triple
        return module

    def compile(self, module: Any) -> MachineCode:
        """Compiles a module. Takes some tenths of a second.

        Raises:
            RuntimeError: LLVM cannot compile for this processor.
        """
        return MachineCode(module, self._machine)


class MachineCode:
    """A compiled module. Its functions can be called as long as it is there.

    Args:
        module: What was written.
        machine: What LLVM compiles for.
    """

    def __init__(self, module: Any, machine: Any) -> None:
        parsed = binding.parse_assembly(str(module))
        parsed.verify()
        passes = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(_OPTIMIZATION))
        passes.getModulePassManager().run(parsed, passes)
        self._engine: Any = binding.create_mcjit_compiler(parsed, machine)
        self._engine.finalize_object()

    def function(self, name: str, arguments: Sequence[Any], *, short: bool = False) -> Callable[..., None]:
        """Returns a function without a result.

        Args:
            name: Its name.
            arguments: Their types, as `ctypes` has them.
            short: Whether Python's lock is kept while it runs: to get it back can take longer than some microseconds'
                work. Else it is free.
        """
        kind = ctypes.PYFUNCTYPE if short else ctypes.CFUNCTYPE
        return kind(None, *arguments)(self._engine.get_function_address(name))
