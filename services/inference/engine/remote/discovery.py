"""What a server has to offer, asked once at start: its models, a model's context, its tokenizer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.inference.engine import catalog
from services.inference.engine.protocol import ModelInfo, SamplingDefaults
from services.inference.engine.remote.failures import BadAnswer, Refusal
from services.inference.engine.remote.tokenizers import ServerTokenizer, find_tokenizer
from services.rpc.errors import ChatbotError
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from services.inference.engine.remote.client import RemoteClient
    from services.inference.progress import Progress
    from services.inference.settings import InferenceSettings

_RETRY_SECONDS = 1.0
_ANY_TOKEN = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model of a server."""

    name: str
    """What the server calls it."""
    info: ModelInfo
    tokenizer: type[ServerTokenizer] | None
    """What the server lends, if it lends one."""


async def discover(client: RemoteClient, settings: InferenceSettings, progress: Progress) -> RemoteModel:
    """Waits until the server answers, however long, and returns the model to use.

    Raises:
        StartupError: The server refuses, or does not have such a model; the message says what to do.
    """
    while True:
        try:
            return await _discover(client, settings)
        except BadAnswer:
            raise _no_list(client) from None
        except Refusal as refusal:
            _check(client, refusal)
            problem = f"it answers HTTP {refusal.status}"
        except ChatbotError as failure:
            problem = "it cannot be reached" if failure.reason == "UNAVAILABLE" else "it is not ready"
        progress.begin(f"waiting for the model's server at {client.address.base}: {problem}")
        await asyncio.sleep(_RETRY_SECONDS)


def _no_list(client: RemoteClient) -> StartupError:
    return StartupError(f"{client.address.base}/models is no list of models: is it an OpenAI-compatible server?")


def _check(client: RemoteClient, refusal: Refusal) -> None:
    server = f"The model's server at {client.address.base}"
    if refusal.status in {401, 403}:
        raise StartupError(
            f"{server} does not accept the key (HTTP {refusal.status}); set {variable_name('remote_api_key')}."
        )
    if refusal.status < 500 and refusal.status != 429:
        raise StartupError(
            f"{server} is not OpenAI-compatible: it answers HTTP {refusal.status} to /models; "
            f"{variable_name('model')} mostly ends in /v1."
        )


async def _discover(client: RemoteClient, settings: InferenceSettings) -> RemoteModel:
    answer = await client.list_models()
    entries = answer.get("data")
    if not isinstance(entries, list) or not all(isinstance(e, dict) and isinstance(e.get("id"), str) for e in entries):
        raise _no_list(client)
    entry = _chosen(client, entries, settings.remote_model)
    name: str = entry["id"]
    tokenizer = await find_tokenizer(client, name)
    shown = name.rsplit("/", 1)[-1].removesuffix(".gguf") if name.endswith(".gguf") else name
    known = catalog.find_entry(shown)
    meta = entry.get("meta") or {}
    info = ModelInfo(
        id=shown,
        weights=str(meta.get("ftype") or ""),
        device="remote",
        context_tokens=await _context_tokens(client, entry, shown, settings.context_tokens),
        vocabulary_size=_number(meta.get("n_vocab")) or _ANY_TOKEN,
        parameters=_number(meta.get("n_params")) or 0,
        architecture="",
        description=known.description if known else "",
        languages=known.languages if known else (),
        sampling=known.sampling if known else SamplingDefaults(),
    )
    return RemoteModel(name, info, tokenizer)


def _chosen(client: RemoteClient, entries: list[dict[str, Any]], wanted: str | None) -> dict[str, Any]:
    names = ", ".join(e["id"] for e in entries) or "none"
    variable = variable_name("remote_model")
    if wanted is None:
        if len(entries) == 1:
            return entries[0]
        if not entries:
            raise StartupError(f"The server at {client.address.base} has no model.")
        raise StartupError(f"The server at {client.address.base} has several models; set {variable} to one: {names}.")
    found = next((e for e in entries if wanted == e["id"] or wanted in (e.get("aliases") or ())), None)
    if found is None:
        raise StartupError(f"{variable}={wanted}: the server at {client.address.base} does not have it, but: {names}.")
    return found


async def _context_tokens(client: RemoteClient, entry: dict[str, Any], shown: str, cap: int | None) -> int:
    """Returns the context: vLLM's and SGLang's `max_model_len`, llama.cpp's `n_ctx`, at most the setting."""
    meta = entry.get("meta") or {}
    own = _number(entry.get("max_model_len")) or _number(meta.get("n_ctx")) or await _of_properties(client)
    if own is None and cap is None:
        raise StartupError(
            f"The server at {client.address.base} does not say how many tokens the context of {shown} has; set "
            f"{variable_name('context_tokens')} to what it was started with."
        )
    return min(n for n in (own, cap) if n is not None)


async def _of_properties(client: RemoteClient) -> int | None:
    try:
        properties = await client.ask_server("/props")
    except (Refusal, ChatbotError):
        return None
    settings = properties.get("default_generation_settings")
    return _number(settings.get("n_ctx")) if isinstance(settings, dict) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
