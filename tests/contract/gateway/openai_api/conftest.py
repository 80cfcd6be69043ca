"""What tests of the OpenAI-compatible API share."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

Events = list[dict[str, Any]]


@pytest.fixture
def stream(http: httpx.AsyncClient) -> Callable[..., Awaitable[tuple[Events, bool]]]:
    """Posts a request, and returns the data of all events of its stream, and whether `[DONE]` ended it."""

    async def post(path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> tuple[Events, bool]:
        answer = await http.post(path, json={**body, "stream": True}, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        done = data[-1:] == ["[DONE]"]
        return [json.loads(text) for text in (data[:-1] if done else data)], done

    return post
