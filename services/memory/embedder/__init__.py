"""Turns text into vectors: the `Embedder` protocol, what implements it, and the thread it runs on.

The only place that imports torch, and it does so only when a real embedder is loaded.
"""

from services.memory.embedder.away import EmbedderAway
from services.memory.embedder.embedder import Embedded, Embedder
from services.memory.embedder.fake import FakeEmbedder
from services.memory.embedder.load import EmbedderOptions, chosen_embedder, load_embedder
from services.memory.embedder.thread import EmbedderThread, made_by

__all__ = [
    "Embedded",
    "Embedder",
    "EmbedderAway",
    "EmbedderOptions",
    "EmbedderThread",
    "FakeEmbedder",
    "chosen_embedder",
    "load_embedder",
    "made_by",
]
