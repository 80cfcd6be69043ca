"""Settings: read once, typed, and nonsense refused with the variable's name."""

from pathlib import Path

import pytest

from services.rpc.settings import CommonSettings, StartupError, load_settings, usable_data_dir


def test_a_wrong_value_is_refused_with_the_variable_the_value_and_the_rule(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHATBOT_GATEWAY_GRPC_PORT", "70000")
    with pytest.raises(StartupError, match=r"CHATBOT_GATEWAY_GRPC_PORT=70000: .*65535"):
        load_settings(CommonSettings)


def test_a_word_where_a_number_belongs_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHATBOT_DRAIN_SECONDS", "soon")
    with pytest.raises(StartupError, match="CHATBOT_DRAIN_SECONDS=soon"):
        load_settings(CommonSettings)


def test_a_host_name_is_no_address_to_listen_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHATBOT_BIND_HOST", "example.org")
    with pytest.raises(StartupError, match=r"CHATBOT_BIND_HOST=example\.org: must be an IP address"):
        load_settings(CommonSettings)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHATBOT_GATEWAY_GRPC_PORT", "")
    assert load_settings(CommonSettings).gateway_grpc_port == 50051


def test_settings_cannot_be_changed_after_start():
    settings = load_settings(CommonSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.bind_host = "0.0.0.0"


def test_a_data_folder_is_made_where_it_is_missing(tmp_path: Path):
    folder = usable_data_dir(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(StartupError, match=r"file/data cannot be written to .*CHATBOT_DATA_DIR"):
        usable_data_dir(in_the_way / "data")
