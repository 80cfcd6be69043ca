"""Whose request it is, as far as taking turns needs to know. Knows no user: names are opaque, and never logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.rpc.channel import CALLER_HEADER

if TYPE_CHECKING:
    from chatbot.v1.inference_service_pb2 import GenerateRequest
    from services.rpc.interceptor import Context


def caller_of(request: GenerateRequest, context: Context) -> str:
    """Returns an opaque name of whoever asks: what its metadata says, else its cache key, else where it calls from."""
    named = next((value for key, value in context.invocation_metadata() or () if key == CALLER_HEADER), None)
    if named:
        return f"named {named!r}"
    if request.cache_key:
        return f"cache {request.cache_key}"
    # Without the port, which each connection has its own of.
    return f"peer {context.peer().rpartition(':')[0]}"
