"""A client that proves who it is, over a connection that nobody else can read."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

from chatbot.v1 import chat_service_pb2_grpc
from client import ChatClient, InvalidArgument, NotConnected, Tls, Unauthenticated
from tests.contract.client.scripted_chat import RunningChat, ScriptedChat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "cb_0123456789abcdef"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cert.pem`, an authority that vouches for itself as localhost, and `key.pem`."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def encrypted(certificate: Path) -> Iterator[RunningChat]:
    service = ScriptedChat()
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    chat_service_pb2_grpc.add_ChatServiceServicer_to_server(service, server)
    pair = ((certificate / "key.pem").read_bytes(), (certificate / "cert.pem").read_bytes())
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    server.start()
    yield RunningChat(service, f"localhost:{port}", server)
    server.stop(grace=0).wait()


async def test_a_key_is_sent_with_every_call_and_by_every_user_of_the_connection(running: RunningChat) -> None:
    running.service.keys = {KEY}
    async with ChatClient(running.address, api_key=KEY) as client:
        reply = client.chat("Hi")
        assert (await reply.result()) is not None
        assert [c.title async for c in client.as_user("boris").list_conversations()] == []
        assert [record async for record in client.export()]


@pytest.mark.parametrize("key", [None, "cb_of_somebody_else"])
async def test_without_the_right_key_every_call_is_unauthenticated(running: RunningChat, key: str | None) -> None:
    running.service.keys = {KEY}
    async with ChatClient(running.address, api_key=key) as client:
        with pytest.raises(Unauthenticated):
            await client.chat("Hi").result()
        with pytest.raises(Unauthenticated):
            await client.get_model()


@pytest.mark.parametrize("address", ["chat.example:50051", "192.168.0.7:50051", "dns:///chat:50051", "[fe80::1]:50051"])
def test_a_key_does_not_leave_the_machine_in_the_clear(address: str) -> None:
    with pytest.raises(InvalidArgument, match="in the clear") as refused:
        ChatClient(address, api_key=KEY)
    assert KEY not in str(refused.value)
    ChatClient(address, api_key=KEY, tls=Tls())
    ChatClient(address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/run/chat.sock", "dns:///localhost:1"]
)
def test_on_this_machine_a_key_may_go_without_tls(address: str) -> None:
    ChatClient(address, api_key=KEY)


@pytest.mark.parametrize("key", ["two words\n", "ключ", " cb_1"])
def test_what_can_be_no_key_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        ChatClient("127.0.0.1:1", api_key=key)
    assert key.strip() not in str(refused.value)


async def test_a_server_is_reached_by_tls_where_its_authority_is_trusted(
    encrypted: RunningChat, certificate: Path
) -> None:
    async with ChatClient(encrypted.address, api_key=KEY, tls=Tls(certificate / "cert.pem")) as client:
        assert (await client.get_model()).id == "SmolLM2-135M-Instruct"


async def test_a_server_that_nobody_trusted_vouches_for_gets_nothing(encrypted: RunningChat) -> None:
    async with ChatClient(encrypted.address, api_key=KEY, tls=Tls()) as client:
        with pytest.raises(NotConnected):
            await client.get_model()
    assert encrypted.service.requests == []


async def test_a_file_of_authorities_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"none\.pem cannot be read"):
        async with ChatClient("localhost:1", tls=Tls(tmp_path / "none.pem")):
            pass
