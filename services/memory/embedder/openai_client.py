"""HTTP with a server that embeds: OpenAI's `/v1/embeddings` (https://platform.openai.com/docs/api-reference/embeddings).

Whatever the server does ends in vectors that are what was asked for, or in one of the errors below. Its own words may
quote a text, so they are read but never passed on.
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np

from services.memory.embedder.away import BrokenOff, EmbedderAway
from services.memory.embedder.embedder import Embedded
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydantic import SecretStr

_CONNECT_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 60.0
_LEAST_NORM = 1e-12
_MOST_TOKENS = 2**31
_ABOUT_LENGTH = re.compile(
    r"context[ _](length|size|window)|maximum context|too (large|long|many tokens)"
    r"|exceed.{0,40}(context|length|tokens)",
    re.IGNORECASE | re.DOTALL,
)


class TooLong(Exception):
    """A text does not fit what the server's model can read at once."""


class Refused(Exception):
    """The server will not do what it was asked, however often."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class OpenAIClient:
    """Asks one server. Its calls block, and may be made from several threads at once.

    Args:
        base: Of its API: `http://host:8000/v1`.
        api_key: Sent as a bearer token.
        timeout_seconds: Longest wait for the server's next byte.
    """

    def __init__(self, base: str, api_key: SecretStr | None, timeout_seconds: float) -> None:
        self.base = base
        self._http = httpx2.Client(
            headers={} if api_key is None else {"authorization": f"Bearer {api_key.get_secret_value().strip()}"},
            timeout=httpx2.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds)),
        )

    def models(self) -> list[dict[str, Any]]:
        """Returns what the server says of each of its models.

        Raises:
            EmbedderAway: It does not answer now.
            StartupError: What answers is no such server, or does not accept the key.
        """
        try:
            entries = self._ask("GET", "/models", None)["data"]
            if all(isinstance(entry["id"], str) for entry in entries):
                return list(entries)
        except (KeyError, TypeError, ValueError, Refused, TooLong):
            pass
        raise StartupError(
            f"{self.base}/models is no list of models: is it an OpenAI-compatible server? "
            f"{variable_name('embedder')} mostly ends in /v1."
        )

    def embed(self, model: str, texts: Sequence[str], dimension: int | None) -> Embedded:
        """Returns a row of unit length a text, in the order of the texts, and the tokens that the server counts.

        Args:
            model: What the server calls it.
            texts: None of them empty.
            dimension: What rows must be long; None: whatever they are.

        Raises:
            TooLong: One of the texts, or all together.
            Refused: One of the texts.
            EmbedderAway: It is worth trying again.
            StartupError: The server does not accept the key, or has no such model.
        """
        body = {"model": model, "input": list(texts), "encoding_format": "float"}
        try:
            answer = self._ask("POST", "/embeddings", body)
            return Embedded(_rows(answer, len(texts), dimension), _tokens(answer))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            raise EmbedderAway(f"The embedder at {self.base} did not answer with one good vector a text.") from None
        except Refused as refusal:
            if refusal.status == 404:
                raise StartupError(
                    f"The embedder at {self.base} has no such model or no /embeddings (HTTP 404); "
                    f"{variable_name('embedder')} mostly ends in /v1, and {variable_name('embedder_model')} names one "
                    "of several models."
                ) from None
            if refusal.status not in {400, 422}:
                raise EmbedderAway(f"The embedder at {self.base} answers HTTP {refusal.status}.") from None
            raise

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        server = f"The embedder at {self.base}"
        try:
            response = self._http.request(method, f"{self.base}{path}", json=body)
        except httpx2.TimeoutException:
            raise EmbedderAway(f"{server} does not answer in time.") from None
        except httpx2.ConnectError:
            raise EmbedderAway(f"{server} cannot be reached.") from None
        except (httpx2.TransportError, httpx2.DecodingError):
            raise BrokenOff(f"{server} broke off before its answer was complete.") from None
        status = response.status_code
        if response.is_success:
            return response.json()
        if status in {401, 403}:
            raise StartupError(
                f"{server} does not accept the key (HTTP {status}); set {variable_name('embedder_api_key')}."
            )
        if status == 413 or (status in {400, 422, 500} and _ABOUT_LENGTH.search(response.text)):
            raise TooLong
        if status in {408, 425, 429} or status >= 500:
            raise EmbedderAway(
                f"{server} answers HTTP {status}.", _retry_after(response.headers.get("retry-after", ""))
            )
        raise Refused(status)


def _rows(answer: Any, count: int, dimension: int | None) -> NDArray[np.float32]:
    """Returns the vectors of an answer. Raises one of several errors where it is none."""
    entries = answer["data"]
    # The order of the list is nobody's promise; the index is.
    vector_of = {entry.get("index", place): entry["embedding"] for place, entry in enumerate(entries)}
    if len(entries) != count or set(vector_of) != set(range(count)):
        raise ValueError
    vectors = [vector_of[i] for i in range(count)]
    length = dimension or len(vectors[0])
    if not length or any(len(vector) != length or {type(x) for x in vector} - {int, float} for vector in vectors):
        raise ValueError
    rows = np.array(vectors, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms < _LEAST_NORM).any():
        raise ValueError
    return np.asarray(rows / norms, dtype=np.float32)


def _tokens(answer: Any) -> int | None:
    """Returns the tokens that an answer counts; None where it counts none, which servers need not."""
    usage = answer.get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if type(count) is int and 0 < count < _MOST_TOKENS else None


def _retry_after(said: str) -> float | None:
    """Reads Retry-After: seconds or a date (RFC 9110, 10.2.3)."""
    if said.isdecimal():
        return min(float(said), _LONGEST_RETRY_SECONDS)
    try:
        seconds = parsedate_to_datetime(said).timestamp() - time.time()
    except ValueError:
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_SECONDS)
