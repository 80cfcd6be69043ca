"""HTTP with a model's server: JSON in, JSON or a stream of it out, and every failure an error of ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2

from services.inference.engine.remote import failures
from services.inference.engine.remote.failures import BadAnswer, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pydantic import SecretStr

    from services.rpc.server_address import ServerAddress

_ANSWER_SECONDS = 30.0
"""Longest wait for an answer that takes no model."""

_END = "[DONE]"


class RemoteClient:
    """Asks one server. To be used on one event loop.

    Args:
        address: Where the server is.
        api_key: Sent as a bearer token.
        connect_seconds: Longest wait for a connection.
        silence_seconds: Longest wait for the next byte of a reply.
    """

    def __init__(
        self, address: ServerAddress, api_key: SecretStr | None, *, connect_seconds: float, silence_seconds: float
    ) -> None:
        self.address = address
        self._answer = httpx2.Timeout(_ANSWER_SECONDS, connect=connect_seconds, pool=None)
        self._reply = httpx2.Timeout(_ANSWER_SECONDS, connect=connect_seconds, read=silence_seconds, pool=None)
        self._http = httpx2.AsyncClient(
            headers={} if api_key is None else {"authorization": f"Bearer {api_key.get_secret_value().strip()}"},
            # How many requests run at the same time is for admission to say.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=32),
        )

    async def list_models(self) -> dict[str, Any]:
        """Returns the answer to `{base}/models`.

        Raises:
            Refusal: A status of 400 or more.
            BadAnswer: It is no JSON object.
            ChatbotError: As `failures` has it, for any other failure.
        """
        return await self._ask("GET", f"{self.address.base}/models", None)

    async def ask_server(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Returns the answer to one of the server's own calls, which are not OpenAI's: a POST where there is a body.

        Raises:
            Refusal: A status of 400 or more.
            ChatbotError: As `failures` has it, for any other failure.
        """
        try:
            return await self._ask("GET" if body is None else "POST", f"{self.address.root}{path}", body)
        except BadAnswer:
            raise failures.broken_off(self.address) from None

    async def answers(self) -> bool:
        """Tells whether the server answers at all."""
        try:
            response = await self._http.get(f"{self.address.base}/models", timeout=self._answer)
        except httpx2.HTTPError:
            return False
        return response.status_code < 500

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Posts to `{base}{path}` and yields the objects of its event stream until that says it is complete.

        Closing the generator closes the connection: that is how these servers learn that nobody listens any more.

        Raises:
            ChatbotError: As `failures` has it.
        """
        reached = False
        try:
            async with self._http.stream(
                "POST", f"{self.address.base}{path}", json=body, timeout=self._reply
            ) as response:
                reached = True
                if response.is_error:
                    raise await _refusal(response)
                async for event in httpx2.EventSource(response):
                    if event.data.strip() == _END:
                        return
                    yield _checked(_as_object(event.data))
        except Refusal as refusal:
            raise failures.refused(self.address, refusal) from None
        except (httpx2.TransportError, httpx2.DecodingError, BadAnswer):
            raise (failures.broken_off if reached else failures.unreachable)(self.address) from None

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def _ask(self, method: str, url: str, body: dict[str, Any] | None) -> dict[str, Any]:
        try:
            response = await self._http.request(method, url, json=body, timeout=self._answer)
            if response.is_error:
                raise await _refusal(response)
            return _as_object(response.text)
        except (httpx2.TransportError, httpx2.DecodingError):
            raise failures.unreachable(self.address) from None


async def _refusal(response: httpx2.Response) -> Refusal:
    body = await response.aread()
    try:
        answer = json.loads(body)
    except ValueError:
        answer = body.decode(errors="replace")
    return Refusal(response.status_code, answer, response.headers)


def _as_object(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        raise BadAnswer from None
    if not isinstance(answer, dict):
        raise BadAnswer
    return answer


def _checked(event: dict[str, Any]) -> dict[str, Any]:
    """Returns an event that is no error. Servers report in the stream what goes wrong once it has begun."""
    error = event.get("error")
    if not error:
        return event
    code = error.get("code") if isinstance(error, dict) else None
    raise Refusal(code if isinstance(code, int) and 400 <= code < 600 else 500, event, {})
