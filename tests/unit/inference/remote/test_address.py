"""Where a model's server is."""

from __future__ import annotations

import pytest

from services.inference.engine.remote.address import parse_address
from services.rpc.settings import StartupError


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
    address = parse_address(model)
    assert (address.base, address.root) == (base, root)


@pytest.mark.parametrize(
    "model", ["http://", "http://:8000/v1", "http://host:0", "http://host:x/v1", "http://h/v1?a=b"]
)
def test_what_is_no_address_is_refused(model: str):
    with pytest.raises(StartupError, match="must look like http://host:8000/v1"):
        parse_address(model)


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(StartupError, match="CHATBOT_REMOTE_API_KEY") as refused:
        parse_address("http://user:sesame@host:8000/v1")
    assert "sesame" not in str(refused.value)
