"""The engine that has an OpenAI-compatible server generate: vLLM, SGLang, llama.cpp's, Ollama, LM Studio."""

from services.inference.engine.remote.engine import RemoteEngine, load_remote_engine

__all__ = ["RemoteEngine", "load_remote_engine"]
