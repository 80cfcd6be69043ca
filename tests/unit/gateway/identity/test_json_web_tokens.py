"""Tokens of an issuer: which are believed, and how its keys are followed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from services.gateway.identity import ChosenIdentity, Credentials, Role
from services.gateway.identity.json_web_keys import JsonWebKeys
from services.gateway.identity.json_web_token import Holder, TokenRules, Tokens
from services.gateway.settings import GatewaySettings
from services.rpc.errors import Unauthenticated, Unavailable
from services.rpc.settings import StartupError

ISSUER, AUDIENCE = "https://issuer.example", "chatbot"
PRIVATE = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
WRITERS: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
RULES = TokenRules(ISSUER, AUDIENCE, "sub", "realm_access.roles", "admin")


def public(algorithm: str, key_id: str, private: Any = None) -> dict[str, Any]:
    key = (private or PRIVATE[algorithm]).public_key()
    return {**json.loads(WRITERS[algorithm].to_jwk(key)), "kid": key_id, "use": "sig"}


def publish(path: Path, *keys: dict[str, Any]) -> None:
    path.write_text(json.dumps({"keys": keys}))


def token(key_id: str | None = "RS256", algorithm: str = "RS256", private: Any = None, **claims: Any) -> str:
    held = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": time.time() + 300, **claims}
    held = {name: value for name, value in held.items() if value is not None}
    headers = {} if key_id is None else {"kid": key_id}
    return jwt.encode(held, private or PRIVATE[algorithm], algorithm, headers)


@pytest.fixture
def key_set(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    publish(path, *(public(name, name) for name in PRIVATE))
    return path


@pytest.fixture
def tokens(key_set: Path) -> Tokens:
    return Tokens(JsonWebKeys(str(key_set)), RULES)


@pytest.mark.parametrize("algorithm", PRIVATE)
async def test_a_token_of_the_issuers_is_believed(tokens: Tokens, algorithm: str):
    assert await tokens.holder(token(algorithm, algorithm)) == Holder("anna", Role.USER)


async def test_a_role_is_read_where_the_setting_says_and_nowhere_else(tokens: Tokens):
    for claims, role in (
        ({"realm_access": {"roles": ["staff", "admin"]}}, Role.ADMIN),
        ({"realm_access": {"roles": "admin"}}, Role.ADMIN),
        ({"realm_access.roles": ["admin"]}, Role.ADMIN),
        ({"realm_access": {"roles": ["administrator"]}}, Role.USER),
        ({"realm_access": "admin"}, Role.USER),
        ({"roles": ["admin"], "role": "admin"}, Role.USER),
    ):
        holder = await tokens.holder(token(**claims))
        assert holder is not None
        assert holder.role is role


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"},
        {"iss": None},
        {"aud": "another-service"},
        {"aud": None},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"nbf": 32_000_000_000},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 201},
        {"sub": "a\0b"},
    ],
    ids=str,
)
async def test_a_token_for_another_service_or_time_or_of_nobody_is_not(tokens: Tokens, claims: dict[str, Any]):
    assert await tokens.holder(token(**claims)) is None


async def test_a_token_that_somebody_else_signed_is_not(tokens: Tokens):
    assert await tokens.holder(token(private=rsa.generate_private_key(65537, 2048))) is None


async def test_a_token_that_was_changed_is_not(tokens: Tokens):
    head, _, signature = token().split(".")
    body = token(sub="bob").split(".")[1]
    assert await tokens.holder(f"{head}.{body}.{signature}") is None


async def test_a_token_without_a_signature_is_not(tokens: Tokens):
    held = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": time.time() + 300}
    assert await tokens.holder(jwt.encode(held, "", "none", {"kid": "RS256"})) is None


async def test_the_public_key_is_no_shared_secret(tokens: Tokens):
    # The public key as an HMAC secret: what a verifier that lets the token choose falls for. Signed by hand, since
    # PyJWT refuses to.
    secret = PRIVATE["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def part(value: object) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    held = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": time.time() + 300}
    signed = part({"alg": "HS256", "kid": "RS256"}) + b"." + part(held)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, signed, hashlib.sha256)).rstrip(b"=")
    assert await tokens.holder((signed + b"." + signature).decode()) is None


async def test_a_key_is_used_for_its_own_algorithm_only(key_set: Path):
    publish(key_set, {**public("RS256", "a"), "alg": "RS256"})
    tokens = Tokens(JsonWebKeys(str(key_set)), RULES)
    assert await tokens.holder(token("a")) is not None
    assert await tokens.holder(token("a", "PS256", PRIVATE["RS256"])) is None


async def test_a_key_that_is_too_short_proves_nothing(key_set: Path):
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 (what this is about)
    publish(key_set, public("RS256", "a", short))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        signed = token("a", private=short)
    assert await Tokens(JsonWebKeys(str(key_set)), RULES).holder(signed) is None


async def test_a_token_that_names_no_key_is_believed_where_there_is_one_only(key_set: Path, tokens: Tokens):
    assert await tokens.holder(token(None)) is None
    publish(key_set, public("RS256", "a"))
    assert await Tokens(JsonWebKeys(str(key_set)), RULES).holder(token(None)) is not None


@pytest.mark.parametrize("shown", ["", ".", "..", "a.b.c", "é.é.é", "e30.e30.e30", "x" * 5000])
async def test_what_is_no_token_is_not_believed(tokens: Tokens, shown: str):
    assert await tokens.holder(shown) is None


class Issuer:
    """An issuer's server: what it answers with, and how often it was asked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [public("RS256", "RS256")]
        self.status = 200
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = json.dumps({"keys": issuer.keys}).encode()
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/jwks"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield issuer
    issuer.server.shutdown()
    thread.join()
    issuer.server.server_close()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_new_key_of_the_issuers_is_fetched_when_a_token_names_it(issuer: Issuer):
    clock = Clock()
    keys = JsonWebKeys(issuer.address, clock)
    await keys.start()
    tokens = Tokens(keys, RULES)
    assert await tokens.holder(token()) is not None
    fresh = rsa.generate_private_key(65537, 2048)
    issuer.keys = [public("RS256", "new", fresh)]
    clock.now += 10
    assert await tokens.holder(token("new", private=fresh)) is not None
    assert await tokens.holder(token()) is None
    await keys.close()


async def test_made_up_key_names_do_not_make_it_ask_more_often_than_every_ten_seconds(issuer: Issuer):
    clock = Clock()
    keys = JsonWebKeys(issuer.address, clock)
    await keys.start()
    tokens = Tokens(keys, RULES)
    for n in range(20):
        assert await tokens.holder(token(f"made up {n}")) is None
    assert issuer.asked == 1
    clock.now += 10
    await asyncio.gather(*(tokens.holder(token(f"made up {n}")) for n in range(20)))
    assert issuer.asked == 2
    await keys.close()


async def test_an_issuer_that_is_down_leaves_the_keys_it_gave_last(issuer: Issuer):
    clock = Clock()
    keys = JsonWebKeys(issuer.address, clock)
    await keys.start()
    issuer.status = 503
    clock.now += 3600
    tokens = Tokens(keys, RULES)
    assert await tokens.holder(token("made up")) is None
    assert issuer.asked == 2
    assert await tokens.holder(token()) is not None
    await keys.close()


@pytest.mark.parametrize("status", [302, 500])
async def test_until_an_issuer_has_answered_its_tokens_cannot_be_checked(issuer: Issuer, status: int):
    issuer.status = status
    clock = Clock()
    keys = JsonWebKeys(issuer.address, clock)
    await keys.start()
    tokens = Tokens(keys, RULES)
    with pytest.raises(Unavailable):
        await tokens.holder(token())
    assert issuer.asked == 1
    issuer.status = 200
    clock.now += 10
    assert await tokens.holder(token()) is not None
    await keys.close()


async def test_keys_are_fetched_anew_when_they_are_old(issuer: Issuer):
    clock = Clock()
    keys = JsonWebKeys(issuer.address, clock)
    await keys.start()
    clock.now += 600
    tokens = Tokens(keys, RULES)
    assert await tokens.holder(token()) is not None
    await asyncio.wait_for(keys._asking, 10)
    assert issuer.asked == 2
    await keys.close()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "AA"}]}', '{"keys": 5}']
)
def test_a_file_without_public_keys_ends_the_start(tmp_path: Path, text: str):
    file = tmp_path / "jwks.json"
    file.write_text(text)
    with pytest.raises(StartupError, match=r"CHATBOT_JWT_JWKS=.*holds no"):
        JsonWebKeys(str(file))


@pytest.mark.parametrize("source", ["http://issuer.example/jwks", "ftp://127.0.0.1/x", "file:///etc/passwd", "nowhere"])
def test_keys_come_from_where_nobody_can_change_them_on_the_way(source: str):
    with pytest.raises(StartupError, match="CHATBOT_JWT_JWKS"):
        JsonWebKeys(source)


async def test_tokens_and_api_keys_hold_at_the_same_gateway(tmp_path: Path, key_set: Path, add_key):
    settings: dict[str, Any] = {"data_dir": tmp_path, "bind_host": "0.0.0.0", "jwt_jwks": str(key_set)}
    with pytest.raises(StartupError, match="CHATBOT_JWT_ISSUER is missing"):
        ChosenIdentity(GatewaySettings(**settings))
    with pytest.raises(StartupError, match="CHATBOT_JWT_JWKS is missing"):
        ChosenIdentity(GatewaySettings(data_dir=tmp_path, jwt_issuer=ISSUER, jwt_audience=AUDIENCE))
    with pytest.raises(StartupError, match="CHATBOT_JWT_AUDIENCE is missing"):
        ChosenIdentity(GatewaySettings(**settings, jwt_issuer=ISSUER))
    identity = ChosenIdentity(GatewaySettings(**settings, jwt_issuer=ISSUER, jwt_audience=AUDIENCE))
    await identity.start()
    caller = await identity.identify(Credentials(None, token(sub="masha")), lambda: None)
    assert caller.user_id == "masha"
    caller = await identity.identify(Credentials(None, add_key("anna")), lambda: None)
    assert caller.user_id == "anna"
    for nobody in (Credentials(None), Credentials(None, token(aud="other")), Credentials("anna")):
        with pytest.raises(Unauthenticated):
            await identity.identify(nobody, lambda: None)
    await identity.close()
