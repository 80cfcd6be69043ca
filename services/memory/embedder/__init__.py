"""Turns text into vectors: the `Embedder` protocol, what implements it, and the threads it runs on.

The only place that imports torch, and it does so only when a real embedder is loaded.
"""

from services.memory.embedder.away import EmbedderAway
from services.memory.embedder.embedder import Embedded, Embedder
from services.memory.embedder.fake import FakeEmbedder
from services.memory.embedder.load import EmbedderOptions, load_embedder

__all__ = [
    "Embedded",
    "Embedder",
    "EmbedderAway",
    "EmbedderOptions",
    "FakeEmbedder",
    "load_embedder",
]
