"""The public keys that an issuer signs its tokens with (JWKS, RFC 7517), as they are now.

From an address or a file. They are asked for anew every ten minutes, and at once where a token names a key that is not
among them: an issuer that changes its keys is followed without a restart. Tokens with made-up key names cannot have it
asked more often than every ten seconds. Where it does not answer, the keys it gave last go on to hold.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from services.rpc.errors import Unavailable
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger()

_FRESH_SECONDS = 600.0
_ASK_AGAIN_SECONDS = 10.0
_ANSWER_SECONDS = 5.0
_MAX_BYTES = 1024 * 1024
_KEY_TYPES = {"RSA", "EC", "OKP"}
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class _Unusable(Exception):
    """What is there is no set of public keys. The message completes a sentence about its source."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follows none: only the address that was configured is believed."""


class JsonWebKeys:
    """An issuer's public keys.

    Args:
        source: An `https://` address (`http://` on this machine), or a file.
        clock: Returns seconds.

    Raises:
        StartupError: The source is neither, or a file without keys.
    """

    def __init__(self, source: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._keys: list[dict[str, Any]] | None = None
        self._asked_at = -float("inf")
        self._asking: asyncio.Task[None] | None = None
        self._built: dict[tuple[str, str], PyJWK] = {}
        address = urlsplit(source)
        self._is_address = "://" in source
        if not self._is_address:
            try:
                self._take(Path(source).read_bytes())
            except OSError as failure:
                raise StartupError(
                    f"{variable_name('jwt_jwks')}={source} cannot be read ({failure.strerror}); it has to be an "
                    "https:// address or a file."
                ) from None
            except _Unusable as unusable:
                raise StartupError(f"{variable_name('jwt_jwks')}={source} {unusable}.") from None
        elif address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOOPBACK):
            raise StartupError(
                f"{variable_name('jwt_jwks')} must be an https:// address, or a file: whoever can change what is "
                "fetched can be anyone."
            )

    async def start(self) -> None:
        """Fetches the keys for the first time. Where that fails the log says so, and it is tried again by need."""
        if self._is_address:
            await self._ask()

    async def close(self) -> None:
        """Gives up what is being fetched."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def key(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """Returns the key that a token says it is signed with; None where there is none such.

        Args:
            key_id: The token's `kid`; None: it has none, which will do where there is one key only.
            algorithm: The token's `alg`: one that needs a public key.

        Raises:
            Unavailable: No keys could be fetched yet.
        """
        age = self._clock() - self._asked_at
        found = self._find(key_id, algorithm)
        if found is None and (age >= _ASK_AGAIN_SECONDS or self._is_asking):
            await self._ask()
            found = self._find(key_id, algorithm)
        elif age >= _FRESH_SECONDS:
            self._begin_asking()
        if self._keys is None:
            raise Unavailable("The keys that tokens are checked with cannot be fetched now.", retry_after=5.0)
        return found

    @property
    def _is_asking(self) -> bool:
        return self._asking is not None and not self._asking.done()

    def _find(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        keys = self._keys or []
        for number, key in enumerate(keys):
            if len(keys) > 1 if key_id is None else key.get("kid") != key_id:
                continue
            if key.get("alg", algorithm) != algorithm:
                continue
            built = self._built.get((str(number), algorithm))
            if built is None:
                try:
                    built = PyJWK(key, algorithm=algorithm)
                except PyJWTError:  # of another type than the algorithm is for, or broken
                    continue
                self._built[str(number), algorithm] = built
            return built
        return None

    async def _ask(self) -> None:
        # Whoever waits may be cancelled; the answer is for all who wait.
        await asyncio.shield(self._begin_asking())

    def _begin_asking(self) -> asyncio.Task[None]:
        if self._asking is None or self._asking.done():
            self._asked_at = self._clock()
            self._asking = asyncio.create_task(self._fetch(), name="json-web-keys")
        return self._asking

    async def _fetch(self) -> None:
        try:
            read = _read_address if self._is_address else _read_file
            self._take(await asyncio.to_thread(read, self._source))
        except (_Unusable, OSError, ValueError) as failure:
            problem = str(failure) if isinstance(failure, _Unusable) else type(failure).__name__
            _log.warning("the issuer's keys could not be fetched; those it gave last still hold", problem=problem)

    def _take(self, data: bytes) -> None:
        try:
            listed = json.loads(data)["keys"]
            keys = [key for key in listed if key.get("kty") in _KEY_TYPES and key.get("use", "sig") == "sig"]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise _Unusable("holds no JSON Web Key Set") from None
        if not keys:
            raise _Unusable("holds no public key that tokens are signed with")
        self._keys = keys
        self._built.clear()


def _read_file(source: str) -> bytes:
    return Path(source).read_bytes()


def _read_address(source: str) -> bytes:
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if source.startswith("http:"):
        # Of this machine: no proxy that the environment names has it.
        handlers.append(urllib.request.ProxyHandler({}))
    with urllib.request.build_opener(*handlers).open(source, timeout=_ANSWER_SECONDS) as answer:
        data: bytes = answer.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise _Unusable("is too large for a key set")
    return data
