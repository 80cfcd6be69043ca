"""What a search computes of every message of a user, as machine code: it runs without Python's lock, in one go."""

from services.memory.scoring.compiled import Scoring

__all__ = ["Scoring"]
