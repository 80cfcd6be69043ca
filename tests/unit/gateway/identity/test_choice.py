"""Which rule holds at the doors, and what ends the start."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.gateway.identity import ChosenIdentity, Credentials, Role
from services.gateway.settings import GatewaySettings
from services.rpc.errors import InvalidArgument, PermissionDenied, Unauthenticated
from services.rpc.settings import StartupError

NOBODY = Credentials(None)
ANNA = Credentials("anna")


def chosen(folder: Path, **settings: object) -> ChosenIdentity:
    return ChosenIdentity(GatewaySettings(data_dir=folder, **settings))


async def who(identity: ChosenIdentity, credentials: Credentials) -> tuple[str, Role]:
    caller = await identity.identify(credentials, lambda: None)
    return caller.user_id, caller.role


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
async def test_on_loopback_without_keys_there_is_a_local_user_and_names_are_believed(tmp_path: Path, host: str):
    identity = chosen(tmp_path, bind_host=host)
    assert await who(identity, NOBODY) == ("local", Role.ADMIN)
    assert await who(identity, ANNA) == ("anna", Role.USER)
    # What clients of OpenAI's API send because they must send something.
    assert await who(identity, Credentials(None, "sk-anything")) == ("local", Role.ADMIN)


async def test_on_loopback_names_can_be_refused(tmp_path: Path):
    identity = chosen(tmp_path, trust_user_id_header=False)
    assert await who(identity, NOBODY) == ("local", Role.ADMIN)
    with pytest.raises(PermissionDenied):
        await who(identity, ANNA)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1"])
def test_bound_to_anything_but_loopback_without_keys_it_refuses_to_start(tmp_path: Path, host: str):
    with pytest.raises(StartupError, match=rf"CHATBOT_BIND_HOST={host} lets other machines in.*keys add"):
        chosen(tmp_path, bind_host=host)


async def test_bound_to_anything_with_keys_it_starts(tmp_path: Path, add_key):
    secret = add_key()
    identity = chosen(tmp_path, bind_host="0.0.0.0")
    assert await who(identity, Credentials(None, secret)) == ("anna", Role.USER)


async def test_opened_to_anyone_by_hand_it_starts_and_all_are_one_user(tmp_path: Path):
    with capture_logs() as lines:
        identity = chosen(tmp_path, bind_host="0.0.0.0", open_to_anyone=True)
    assert [(line["log_level"], line["address"]) for line in lines] == [("warning", "0.0.0.0")]
    assert await who(identity, NOBODY) == ("local", Role.ADMIN)
    with pytest.raises(PermissionDenied):
        await who(identity, ANNA)


async def test_behind_a_proxy_that_checks_a_call_without_a_name_is_refused(tmp_path: Path):
    identity = chosen(tmp_path, bind_host="0.0.0.0", trust_user_id_header=True)
    assert await who(identity, ANNA) == ("anna", Role.USER)
    with pytest.raises(Unauthenticated):
        await who(identity, NOBODY)


async def test_the_first_key_closes_the_door_of_a_gateway_that_runs_and_nothing_opens_it_again(
    tmp_path: Path, key_file, add_key
):
    identity = chosen(tmp_path, bind_host="0.0.0.0", open_to_anyone=True)
    await who(identity, NOBODY)
    secret = add_key()
    with pytest.raises(Unauthenticated):
        await who(identity, NOBODY)
    key_file.path.unlink()
    with pytest.raises(Unauthenticated):
        await who(identity, NOBODY)
    assert await who(identity, Credentials(None, secret)) == ("anna", Role.USER)


async def test_a_damaged_file_that_appears_while_it_runs_closes_the_door(tmp_path: Path, key_file):
    identity = chosen(tmp_path)
    key_file.path.write_text("{")
    with pytest.raises(Unauthenticated):
        await who(identity, NOBODY)


async def test_with_keys_only_an_admins_may_name_somebody_else(tmp_path: Path, add_key):
    user, admin = add_key("anna"), add_key("app", Role.ADMIN)
    identity = chosen(tmp_path)
    assert await who(identity, Credentials("anna", user)) == ("anna", Role.USER)
    assert await who(identity, Credentials("bob", admin)) == ("bob", Role.ADMIN)
    assert await who(identity, Credentials(None, admin)) == ("app", Role.ADMIN)
    with pytest.raises(PermissionDenied):
        await who(identity, Credentials("bob", user))
    with pytest.raises(Unauthenticated):
        await who(identity, ANNA)


async def test_every_key_that_is_no_good_is_answered_in_the_same_words(tmp_path: Path, key_file, add_key):
    add_key()
    identity = chosen(tmp_path)
    told = set()
    kept = key_file.read()[0].key_id
    for shown in (f"chatbot_{'0' * 12}_{'0' * 64}", f"chatbot_{kept}_{'0' * 64}", "chatbot_", "sk-x", "a.b.c"):
        with pytest.raises(Unauthenticated) as refused:
            await who(identity, Credentials(None, shown))
        told.add(str(refused.value))
    assert len(told) == 1


def test_keys_and_a_header_that_is_believed_without_them_contradict_each_other(tmp_path: Path, add_key):
    add_key()
    with pytest.raises(StartupError, match="CHATBOT_TRUST_USER_ID_HEADER"):
        chosen(tmp_path, trust_user_id_header=True)


@pytest.mark.parametrize(
    ("authorization", "shown"),
    [("Bearer x.y.z", "x.y.z"), ("bearer  x ", "x"), ("Basic eDp5", None), ("Bearer", None), ("", None)],
)
def test_a_bearer_is_read_as_http_has_it(authorization: str, shown: str | None):
    assert Credentials.of_metadata([("authorization", authorization)]).bearer == shown
    assert Credentials.of_headers([(b"authorization", authorization.encode())]).bearer == shown


def test_http_and_grpc_say_the_same_by_their_own_names():
    by_grpc = Credentials.of_metadata([("x-user-id-bin", "анна".encode()), ("x-user-id", "bob")])
    by_http = Credentials.of_headers([(b"x-user-id", "анна".encode()), (b"x-user-id-bin", b"bob"), (b"host", b"\xff")])
    assert by_grpc == by_http == Credentials("анна")


@pytest.mark.parametrize("user", [b"", b"  ", b"\xff\xfe", b"a\0b", "я".encode() * 201])
def test_an_unusable_user_id_is_refused_by_the_name_of_its_field(user: bytes):
    with pytest.raises(InvalidArgument, match=r"^header x-user-id must be"):
        Credentials.of_headers([(b"x-user-id", user)])
    with pytest.raises(InvalidArgument, match=r"^metadata x-user-id-bin must be"):
        Credentials.of_metadata([("x-user-id-bin", user)])


def test_what_is_said_twice_is_refused():
    for name in (b"x-user-id", b"authorization"):
        with pytest.raises(InvalidArgument, match="must be given once"):
            Credentials.of_headers([(name, b"Bearer a"), (name, b"Bearer a")])
