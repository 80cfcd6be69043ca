"""Turns text into vectors: the `Embedder` protocol, what implements it, and the thread it runs on.

The only place that imports torch, and it does so only when a real embedder is loaded.
"""

from services.memory.embedder.embedder import Embedder
from services.memory.embedder.fake import FakeEmbedder
from services.memory.embedder.load import load_embedder
from services.memory.embedder.thread import EmbedderThread, made_by

__all__ = ["Embedder", "EmbedderThread", "FakeEmbedder", "load_embedder", "made_by"]
