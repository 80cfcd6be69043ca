"""An embedder that is another server's model, by OpenAI's API.

Never sleeps and asks a second time only where a connection broke off: whoever waits for it decides how long to wait.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from typing_extensions import override

from services.memory.embedder.away import BrokenOff, EmbedderAway
from services.memory.embedder.embedder import Embedded, Embedder
from services.memory.embedder.openai_client import OpenAIClient, Refused, TooLong
from services.memory.embedder.pieces import MAX_PIECES, cut, embed_in_pieces
from services.memory.embedder.prompts import Prompts, prompts_of
from services.memory.embedder.russian import finds_russian
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_log = structlog.get_logger()

_WINDOW = 1_500
"""Characters of a piece: what fits 512 tokens in most languages. Where it does not, the server says so."""
_LEAST_WINDOW = 16
_REQUEST_CHARACTERS = 8 * _WINDOW
"""Of one request, so that a server without much of a processor answers in time."""
_PLAIN = "A plain text."
"""What every embedder can embed."""
_FACTS = ("n_params", "n_vocab", "n_embd", "size")
"""What llama.cpp tells of a model, and what tells it from another of the same name."""

RECIPE = f"mean-of-16x{_WINDOW}"


class ServerEmbedder(Embedder):
    """Embeds with a model of a server, whose length of vectors it learns at start.

    Its id holds the server's name of the model and what the server tells of it, but not where the server is: the same
    model may move.

    Args:
        client: Asks the server.
        model: Which of its models; None: the only one.
        prompts: What goes before texts; None: what a model of such a name is known to want.

    Raises:
        EmbedderAway: The server does not answer now.
        StartupError: It refuses, or has no such model.
    """

    def __init__(self, client: OpenAIClient, model: str | None, prompts: Prompts | None) -> None:
        self._client = client
        entry = _chosen(client, model)
        self._model: str = entry["id"]
        self._prompts = prompts_of(self._model) if prompts is None else prompts
        try:
            probe = client.embed(self._model, [_PLAIN], None)
        except (Refused, TooLong):
            raise StartupError(f"The embedder at {client.base} will not embed with {self._model}.") from None
        self.dimension = probe.rows.shape[1]
        meta = entry.get("meta")
        facts = {name: meta[name] for name in _FACTS if name in meta} if isinstance(meta, dict) else {}
        digest = hashlib.sha256(json.dumps([facts, self.dimension], sort_keys=True).encode()).hexdigest()[:12]
        shown = self._model.rsplit("/", 1)[-1] if self._model.endswith(".gguf") else self._model
        self.id = f"server/{shown}@{digest}/{RECIPE}{self._prompts.recipe}"
        self.reads_russian = finds_russian(self.embed_messages, self.embed_queries)

    @override
    def embed_messages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._embed(texts, self._prompts.message, _Count())

    @override
    def embed_counted(self, texts: Sequence[str]) -> Embedded:
        count = _Count()
        return Embedded(self._embed(texts, self._prompts.message, count), count.tokens)

    @override
    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._embed(texts, self._prompts.query, _Count())

    @override
    def close(self) -> None:
        self._client.close()

    def _embed(self, texts: Sequence[str], prompt: str, count: _Count) -> NDArray[np.float32]:
        try:
            return embed_in_pieces(
                texts,
                lambda text: _pieces(text, _WINDOW),
                lambda pieces: np.concatenate([self._ask(some, prompt, count) for some in _requests(pieces)]),
            )
        except StartupError as refusal:
            # What it would not start with may pass while it runs: a key that is being changed, a model being loaded.
            raise EmbedderAway(str(refusal)) from None

    def _ask(self, pieces: list[str], prompt: str, count: _Count) -> NDArray[np.float32]:
        given = [prompt + piece for piece in pieces]
        try:
            try:
                answer = self._client.embed(self._model, given, self.dimension)
            except BrokenOff:
                # A kept connection that the server has closed meanwhile says nothing about the server.
                answer = self._client.embed(self._model, given, self.dimension)
        except (TooLong, Refused) as refusal:
            if len(pieces) > 1:
                return np.concatenate([self._ask([piece], prompt, count) for piece in pieces])
            return self._alone(pieces[0], prompt, count, refusal)
        count.add(answer.tokens)
        return answer.rows

    def _alone(self, piece: str, prompt: str, count: _Count, refusal: Exception) -> NDArray[np.float32]:
        """Embeds what the server will not take as it is: half by half where that is too long."""
        if isinstance(refusal, TooLong) and len(piece) >= 2 * _LEAST_WINDOW:
            halves = _pieces(piece, (len(piece) + 1) // 2)
            return embed_in_pieces([piece], lambda _: halves, lambda each: self._ask(each, prompt, count))
        try:
            self._client.embed(self._model, [_PLAIN], self.dimension)
        except (TooLong, Refused):
            raise EmbedderAway(f"The embedder at {self._client.base} refuses every text.") from None
        # Asked again for ever it would keep all that waits behind it from being embedded.
        _log.warning("the embedder will not take a text: it is found by its words only", characters=len(piece))
        return np.zeros((1, self.dimension), dtype=np.float32)


class _Count:
    """Tokens read so far; None: the server does not tell."""

    def __init__(self) -> None:
        self.tokens: int | None = 0

    def add(self, more: int | None) -> None:
        self.tokens = None if self.tokens is None or more is None else self.tokens + more


def _chosen(client: OpenAIClient, wanted: str | None) -> dict[str, Any]:
    entries = client.models()
    variable = variable_name("embedder_model")
    names = ", ".join(entry["id"] for entry in entries) or "none"
    if wanted is None:
        if len(entries) == 1:
            return entries[0]
        if not entries:
            raise StartupError(f"The embedder at {client.base} has no model.")
        raise StartupError(f"The embedder at {client.base} has several models; set {variable} to one: {names}.")
    found = next((e for e in entries if wanted == e["id"] or wanted in (e.get("aliases") or ())), None)
    if found is None:
        raise StartupError(f"{variable}={wanted}: the embedder at {client.base} does not have it, but: {names}.")
    return found


def _pieces(text: str, window: int) -> list[str]:
    return cut(text[: MAX_PIECES * window], window, lambda head: [(i, i + 1) for i in range(len(head))])


def _requests(pieces: list[str]) -> Iterator[list[str]]:
    """Cuts what is to be embedded into what one request may hold."""
    some: list[str] = []
    for piece in pieces:
        if some and sum(map(len, some)) + len(piece) > _REQUEST_CHARACTERS:
            yield some
            some = []
        some.append(piece)
    yield some
