"""`python run.py keys`: gives out keys, lists them, takes them back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.gateway.identity import ChosenIdentity, Credentials, Role
from services.gateway.keys.main import main
from services.gateway.settings import GatewaySettings
from services.rpc.errors import Unauthenticated


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHATBOT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CHATBOT_API_KEYS_FILE", raising=False)
    return tmp_path / "data"


async def test_a_key_comes_alone_on_standard_output_and_opens_the_door_until_it_is_revoked(data_dir: Path, capsys):
    assert main(["add", "laptop", "--user", "анна"]) == 0
    secret = capsys.readouterr().out.strip()
    identity = ChosenIdentity(GatewaySettings(data_dir=data_dir))
    caller = await identity.identify(Credentials(None, secret), lambda: None)
    assert (caller.user_id, caller.role) == ("анна", Role.USER)
    assert main(["revoke", "laptop"]) == 0
    with pytest.raises(Unauthenticated):
        await identity.identify(Credentials(None, secret), lambda: None)


def test_nothing_else_that_is_said_holds_a_key(data_dir: Path, capsys):
    main(["add", "laptop", "--user", "anna", "--role", "admin", "--days", "30"])
    added = capsys.readouterr()
    secret = added.out.strip().rpartition("_")[2]
    main(["list"])
    main(["list", "--json"])
    main(["revoke", "laptop"])
    later = capsys.readouterr()
    files = "".join(path.read_text() for path in data_dir.iterdir())
    assert len(secret) == 64
    for text in (added.err, later.out, later.err, files):
        assert secret not in text


def test_keys_are_listed_with_what_they_are_for_and_how_they_stand(capsys):
    main(["add", "laptop", "--user", "anna"])
    main(["add", "app", "--user", "app", "--role", "admin", "--days", "2"])
    main(["revoke", "laptop"])
    capsys.readouterr()
    main(["list", "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["name"], row["user"], row["role"], row["state"].split()[0]) for row in rows] == [
        ("laptop", "anna", "user", "revoked"),
        ("app", "app", "admin", "holds"),
    ]
    main(["list"])
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["ID", "NAME", "USER", "ROLE", "MADE", "STATE"]
    assert [line.split()[1] for line in lines] == ["laptop", "app"]


def test_a_name_is_one_keys_until_that_is_revoked(capsys):
    assert main(["add", "laptop", "--user", "anna"]) == 0
    assert main(["add", "laptop", "--user", "bob"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: There is a key 'laptop'")
    assert main(["revoke", "laptop"]) == 0
    assert main(["add", "laptop", "--user", "bob"]) == 0


def test_a_key_is_revoked_by_its_id_too_and_once_more_changes_nothing(capsys):
    main(["add", "laptop", "--user", "anna"])
    key_id = capsys.readouterr().out.split("_")[1]
    assert main(["revoke", key_id]) == 0
    assert main(["revoke", key_id]) == 0
    assert main(["revoke", "laptop"]) == 2
    assert main(["revoke", "nothing"]) == 2


def test_a_damaged_file_is_told_in_one_sentence_and_left_as_it_is(data_dir: Path, capsys):
    data_dir.mkdir()
    (data_dir / "api-keys.json").write_text("{")
    for arguments in (["add", "x", "--user", "y"], ["list"], ["revoke", "x"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err == f"error: The file of API keys, {data_dir}/api-keys.json, is damaged.\n"
    assert (data_dir / "api-keys.json").read_text() == "{"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["add", "x"],
        ["add", "", "--user", "y"],
        ["add", "x", "--user", " "],
        ["add", "x", "--user", "y" * 201],
        ["add", "x\n", "--user", "y"],
        ["add", "x", "--user", "y", "--role", "god"],
        ["add", "x", "--user", "y", "--days", "0"],
        ["add", "x", "--user", "y", "--days", "nan"],
    ],
)
def test_what_is_no_command_is_refused(arguments: list[str], data_dir: Path):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert not data_dir.exists()
