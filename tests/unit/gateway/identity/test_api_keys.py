"""API keys: their form, their file, and who comes in with one."""

from __future__ import annotations

import hashlib
import re
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from services.gateway.identity import Credentials, Role
from services.gateway.identity.api_key import find_key, new_key
from services.gateway.identity.key_file import KeyFile, KeyFileDamaged
from services.gateway.identity.key_ring import KeyRing
from services.rpc.settings import StartupError

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def test_a_key_has_256_random_bits_behind_a_prefix_that_scanners_can_find():
    secret, key = new_key("laptop", "anna", Role.USER, NOW, None)
    assert re.fullmatch(r"chatbot_[0-9a-f]{12}_[0-9a-f]{64}", secret)
    assert key.key_id in secret
    assert new_key("laptop", "anna", Role.USER, NOW, None)[0] != secret


def test_only_a_digest_of_the_key_is_kept_and_not_even_that_is_shown():
    secret, key = new_key("laptop", "anna", Role.USER, NOW, None)
    assert key.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert key.digest not in repr(key)
    assert secret.rpartition("_")[2] not in repr(key)


def test_what_a_call_shows_is_in_no_repr_of_it():
    assert "hidden" not in repr(Credentials(None, "hidden"))


def test_a_key_is_found_by_itself_alone():
    secret, key = new_key("laptop", "anna", Role.USER, NOW, None)
    keys = {key.key_id: key}
    assert find_key(secret, keys, NOW) is key
    other = "0" if secret[-1] != "0" else "1"
    for wrong in (secret[:-1] + other, secret[:-1], secret + " ", secret.upper(), key.key_id, key.digest, "", "ключ"):
        assert find_key(wrong, keys, NOW) is None


def test_a_revoked_key_and_an_expired_one_open_nothing():
    secret, key = new_key("laptop", "anna", Role.USER, NOW, NOW + timedelta(days=1))
    assert find_key(secret, {key.key_id: key}, NOW + timedelta(hours=23)) is key
    assert find_key(secret, {key.key_id: key}, NOW + timedelta(days=1)) is None
    revoked = replace(key, revoke_time=NOW)
    assert find_key(secret, {key.key_id: revoked}, NOW) is None


def test_the_file_is_its_owners_alone_and_leaves_nothing_beside_it(key_file: KeyFile, add_key):
    add_key()
    add_key()
    assert stat.S_IMODE(key_file.path.stat().st_mode) == 0o600
    assert [p.name for p in key_file.path.parent.iterdir()] == [key_file.path.name]


def test_the_file_holds_no_key(key_file: KeyFile, add_key):
    secret = add_key()
    assert secret.rpartition("_")[2] not in key_file.path.read_text()


def test_commands_at_the_same_time_lose_none_of_each_others_keys(key_file: KeyFile, add_key):
    threads = [threading.Thread(target=add_key, args=(f"user {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.user_id for key in key_file.read()) == [f"user {n}" for n in range(8)]


def test_a_change_that_fails_leaves_the_file_as_it_was(key_file: KeyFile, add_key):
    add_key()
    before = key_file.path.read_bytes()
    with pytest.raises(RuntimeError), key_file.changing() as keys:
        keys.clear()
        raise RuntimeError
    assert key_file.path.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff\xfe", b"[]", b'{"version": 2, "keys": []}', b'{"version": 1, "keys": [{}]}', b'{"keys": 1}'],
)
def test_a_damaged_file_is_told_apart_from_none_and_left_as_it_is(key_file: KeyFile, damage: bytes):
    key_file.path.write_bytes(damage)
    with pytest.raises(KeyFileDamaged, match="is damaged"):
        key_file.read()
    with pytest.raises(KeyFileDamaged), key_file.changing():
        pass
    assert key_file.path.read_bytes() == damage


def test_what_is_said_of_damage_quotes_nothing_of_the_file(key_file: KeyFile, add_key):
    add_key()
    key_file.path.write_text(key_file.path.read_text().replace('"role": "user"', '"role": "hidden"'))
    with pytest.raises(KeyFileDamaged) as damaged:
        key_file.read()
    assert str(damaged.value) == "is damaged at keys.0.role"


def test_two_keys_of_one_id_are_damage(key_file: KeyFile, add_key):
    add_key()
    with pytest.raises(KeyFileDamaged, match="same id"):
        with key_file.changing() as keys:
            keys.append(keys[0])
        key_file.read()


def test_a_gateway_that_runs_takes_in_every_change_at_the_next_call(key_file: KeyFile, add_key):
    first = add_key()
    ring = KeyRing(key_file.path, must_exist=True)
    assert ring.find(first) is not None
    second = add_key("bob", Role.ADMIN)
    ring.follow()
    found = ring.find(second)
    assert found is not None
    assert (found.user_id, found.role) == ("bob", Role.ADMIN)
    with key_file.changing() as keys:
        keys[0] = replace(keys[0], revoke_time=datetime.now(UTC))
    ring.follow()
    assert ring.find(first) is None
    assert ring.find(second) is not None


def test_damage_while_it_runs_changes_nothing_but_the_log_and_that_once(key_file: KeyFile, add_key):
    secret = add_key()
    ring = KeyRing(key_file.path, must_exist=True)
    key_file.path.write_text("{")
    with capture_logs() as lines:
        ring.follow()
        ring.follow()
    assert [(line["log_level"], line["problem"]) for line in lines] == [("error", "is damaged")]
    assert ring.find(secret) is not None
    key_file.path.unlink()
    with capture_logs() as lines:
        ring.follow()
        ring.follow()
    assert [line["log_level"] for line in lines] == ["error"]
    assert ring.has_file
    assert ring.find(secret) is not None


def test_a_damaged_file_ends_the_start(key_file: KeyFile):
    key_file.path.write_text("{")
    with pytest.raises(StartupError, match=r"api-keys\.json, is damaged.*CHATBOT_API_KEYS_FILE"):
        KeyRing(key_file.path, must_exist=False)


def test_a_file_that_was_named_and_is_not_there_ends_the_start(key_file: KeyFile):
    with pytest.raises(StartupError, match=r"CHATBOT_API_KEYS_FILE=.*keys add"):
        KeyRing(key_file.path, must_exist=True)
    assert not KeyRing(key_file.path, must_exist=False).has_file
