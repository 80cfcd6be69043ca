"""Turns text into vectors: the `Embedder` protocol, what implements it, and the thread it runs on.

The only place that imports torch, and it does so only when a real embedder is loaded.
"""

from services.memory.embedder.away import EmbedderAway
from services.memory.embedder.embedder import Embedded, Embedder
from services.memory.embedder.fake import FakeEmbedder
from services.memory.embedder.load import EmbedderOptions, chosen_embedder, load_embedder
from services.memory.embedder.threads import EmbedderThreads, made_by

__all__ = [
    "Embedded",
    "Embedder",
    "EmbedderAway",
    "EmbedderOptions",
    "EmbedderThreads",
    "FakeEmbedder",
    "chosen_embedder",
    "load_embedder",
    "made_by",
]
