"""OpenAI's HTTP API: models, chat completions, completions, embeddings and responses.

Stateless as OpenAI's is: a request carries the whole conversation and goes to the inference service. One that names a
conversation of this backend is a turn of it, as `ChatService.Chat` takes it.
"""

from services.gateway.openai_api.routes import OpenAiApi

__all__ = ["OpenAiApi"]
