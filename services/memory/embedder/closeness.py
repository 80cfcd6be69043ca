"""From which similarity on a message may have to do with what is looked for: models have scales of their own.

Both numbers were chosen on the tuning half of `bench/context`, each with its model.
"""

from __future__ import annotations

from services.memory.embedder.prompts import E5_FAMILY

_USUAL = 0.35
"""all-MiniLM-L6-v2's: texts that have nothing in common lie around 0.1."""
_E5 = 0.82
"""The e5 family puts all texts close together, those that have nothing in common around 0.77."""


def close_similarity(embedder_id: str) -> float:
    """Returns that similarity, for a model by its name."""
    return _E5 if E5_FAMILY.search(embedder_id) else _USUAL
