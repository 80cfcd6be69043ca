"""The decode step, compiled for the processor it runs on.

LLVM's intermediate code is written here, and compiled at start by the LLVM that `llvmlite` carries: no compiler is
needed on the machine, and what comes out uses what its processor has.
"""
