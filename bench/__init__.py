"""Measurements: one command a question, each against its peers in one run. `results/` holds what was measured."""

import sys
from pathlib import Path

GENERATED = str(Path(__file__).parents[1] / "gen")
"""Where the generated code lies."""

# So that `python -m bench.engine` is all there is to type.
if GENERATED not in sys.path:
    sys.path.insert(0, GENERATED)
