"""Where a server that speaks OpenAI's API is."""

from __future__ import annotations

import pytest

from services.rpc.server_address import ServerAddress, parse_server_address
from services.rpc.settings import StartupError


def parse(value: str) -> ServerAddress:
    return parse_server_address(value, "model", "remote_api_key")


@pytest.mark.parametrize(
    ("model", "base", "root"),
    [
        ("http://host:8000/v1", "http://host:8000/v1", "http://host:8000"),
        ("http://host:8000", "http://host:8000/v1", "http://host:8000"),
        ("https://host/", "https://host/v1", "https://host"),
        ("https://host/llm/v1/", "https://host/llm/v1", "https://host/llm"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1", "http://[::1]:8000"),
        ("http://host/other", "http://host/other", "http://host/other"),
    ],
)
def test_an_address_is_that_of_the_api_and_of_the_server(model: str, base: str, root: str):
    address = parse(model)
    assert (address.base, address.root) == (base, root)


@pytest.mark.parametrize(
    "model", ["http://", "http://:8000/v1", "http://host:0", "http://host:x/v1", "http://h/v1?a=b"]
)
def test_what_is_no_address_is_refused(model: str):
    with pytest.raises(StartupError, match="must look like http://host:8000/v1"):
        parse(model)


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(StartupError, match="CHATBOT_REMOTE_API_KEY") as refused:
        parse("http://user:sesame@host:8000/v1")
    assert "sesame" not in str(refused.value)
