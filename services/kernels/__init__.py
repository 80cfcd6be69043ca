"""What inference and memory write the machine code with that they compute by on a processor.

LLVM's intermediate code is written by `Emitter`, and compiled at start by the LLVM that `llvmlite` carries: no compiler
is needed on the machine, and what comes out uses what its processor has. What is computed is the services' own.
"""
