"""The command line, the places and the messages of `python run.py`."""

from __future__ import annotations

import ast
import io
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from deploy.launch.cli import Command, drain_seconds, parse_arguments, service_environment
from deploy.launch.console import Console, Failure
from deploy.launch.places import (
    CHECKOUT,
    chosen_port,
    data_dir,
    is_taken,
    logs_dir,
    open_log,
    reachable_host,
)
from deploy.launch.processes import describe_death, tail

RUN_PY = CHECKOUT / "run.py"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], Command("chat")),
        (["--model", "x/y"], Command("chat", "x/y")),
        (["--model=x/y"], Command("chat", "x/y")),
        (["serve", "--model", "m.gguf"], Command("serve", "m.gguf")),
        (["test", "-k", "name", "--model"], Command("test", passed_on=("-k", "name", "--model"))),
        (["memory", "export", "--user", "ann", "-"], Command("memory", passed_on=("export", "--user", "ann", "-"))),
        (["memory", "--help"], Command("memory", passed_on=("--help",))),
        (["lock"], Command("lock")),
        (["--help"], Command("help")),
        (["-h"], Command("help")),
    ],
)
def test_a_command_line_is_read(arguments, command):
    assert parse_arguments(arguments) == command


@pytest.mark.parametrize("arguments", [["dance"], ["--model"], ["--fast"], ["serve", "now"], ["lock", "--model", "x"]])
def test_what_is_not_understood_is_named_and_answered_with_the_usage(arguments):
    with pytest.raises(Failure, match=r"(?s)usage: python run\.py") as refused:
        parse_arguments(arguments)
    assert refused.value.exit_code == 2


def test_the_launcher_imports_the_standard_library_and_itself_only():
    for file in [RUN_PY, *(CHECKOUT / "deploy").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                assert module.split(".")[0] in {*sys.stdlib_module_names, "deploy"}, f"{file} imports {module}"


def test_older_pythons_can_parse_the_door_and_say_which_python_is_needed():
    ast.parse(RUN_PY.read_text(encoding="utf-8"), feature_version=(3, 8))
    source = RUN_PY.read_text(encoding="utf-8").split("from deploy")[0].replace("sys.version_info <", "(3, 8) <")
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Python 3.11 or later is needed")


def test_help_goes_to_standard_output():
    done = subprocess.run([sys.executable, RUN_PY, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "python run.py lock" in done.stdout


@pytest.mark.parametrize("variable", ["CHATBOT_MEMORY_GRPC_PORT", "CHATBOT_GATEWAY_HTTP_PORT"])
def test_a_taken_port_is_told_in_one_sentence(tmp_path, variable):
    doors = ("GATEWAY_GRPC", "GATEWAY_HTTP", "INFERENCE_GRPC", "MEMORY_GRPC")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = {**os.environ, **{f"CHATBOT_{door}_PORT": "0" for door in doors}}
        env |= {variable: str(port), "CHATBOT_DATA_DIR": str(tmp_path)}
        done = subprocess.run([sys.executable, RUN_PY], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: 127.0.0.1:{port} cannot be listened on: the port is taken; set {variable} to a free one.\n"
    )


def test_a_data_folder_that_cannot_be_written_to_is_told_in_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    env = {**os.environ, "CHATBOT_DATA_DIR": str(tmp_path / "file" / "data")}
    env |= {f"CHATBOT_{d}_PORT": "0" for d in ("GATEWAY_GRPC", "GATEWAY_HTTP", "MEMORY_GRPC", "INFERENCE_GRPC")}
    done = subprocess.run([sys.executable, RUN_PY], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: The data folder {tmp_path}/file/data cannot be written to")
    assert done.stderr.endswith("set CHATBOT_DATA_DIR to a folder that can.\n")


@pytest.mark.skipif(sys.platform != "linux", reason="compares with this platform's folder")
@pytest.mark.parametrize("xdg", ["/somewhere", None])
def test_the_data_folder_is_the_services_own(monkeypatch, xdg):
    monkeypatch.delenv("CHATBOT_DATA_DIR", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    if xdg is not None:
        monkeypatch.setenv("XDG_DATA_HOME", xdg)
    assert data_dir(os.environ) == Path(platformdirs.user_data_dir("chatbot", appauthor=False))


def test_the_data_folder_follows_the_platforms_custom():
    assert data_dir({"CHATBOT_DATA_DIR": "/x"}, "linux") == Path("/x")
    assert data_dir({"HOME": "/h"}, "darwin") == Path("/h/Library/Application Support/chatbot")
    assert data_dir({"HOME": "/h", "LOCALAPPDATA": "/l"}, "win32") == Path("/l/chatbot")


def test_a_new_log_is_private_and_the_one_before_is_kept(tmp_path):
    logs = logs_dir(tmp_path / "data")
    for text in (b"first", b"second"):
        with open_log(logs / "memory.log") as log:
            log.write(text)
    assert (logs / "memory.log").read_bytes() == b"second"
    assert (logs / "memory.log.1").read_bytes() == b"first"
    assert stat.S_IMODE((logs / "memory.log").stat().st_mode) == 0o600


@pytest.mark.parametrize("value", ["abc", "-1", "65536", "1.5"])
def test_a_port_that_is_none_is_left_to_the_service_to_refuse(value):
    assert chosen_port({"PORT": value}, "PORT", 50051) is None


def test_ports_come_from_the_environment_or_their_default():
    assert chosen_port({"PORT": "1234"}, "PORT", 50051) == 1234
    assert chosen_port({"PORT": ""}, "PORT", 50051) == 50051
    assert chosen_port({}, "PORT", 50051) == 50051


def test_port_zero_becomes_a_free_one():
    port = chosen_port({"PORT": "0"}, "PORT", 50051)
    assert port
    assert not is_taken("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "reached"), [("", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "::1")]
)
def test_services_are_reached_where_they_listen(host, reached):
    assert reachable_host({"CHATBOT_BIND_HOST": host}) == reached


def test_the_chosen_model_reaches_the_services():
    assert service_environment({"CHATBOT_MODEL": "a"}, "b")["CHATBOT_MODEL"] == "b"
    assert service_environment({"CHATBOT_MODEL": "a"}, "")["CHATBOT_MODEL"] == "a"


def test_python_may_keep_the_bytecode_of_the_services_whatever_the_shell_says():
    assert "PYTHONDONTWRITEBYTECODE" not in service_environment({"PYTHONDONTWRITEBYTECODE": "1"}, "")


@pytest.mark.parametrize(("value", "seconds"), [("", 20), ("5", 5), ("soon", 20), ("-3", 0), ("inf", 3600)])
def test_the_time_to_stop_is_the_services_own_setting(value, seconds):
    assert drain_seconds({"CHATBOT_DRAIN_SECONDS": value}) == seconds


def test_the_tail_of_a_log_has_neither_colours_nor_empty_lines_nor_broken_text(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"one\n\n\x1b[32mtwo\x1b[0m\rthree\n\xff\n")
    assert tail(log, 3) == ["two", "three", "\ufffd"]
    assert tail(tmp_path / "missing", 3) == []


def test_an_error_line_without_the_exit_status_of_a_refusal_is_no_refusal(tmp_path):
    log = tmp_path / "log"
    log.write_text("error: the last words\n")
    assert describe_death("memory", 2, log).args == ("the last words",)
    assert "exit status 1" in str(describe_death("memory", 1, log))


def test_where_there_is_no_terminal_progress_is_not_written_line_by_line():
    stream = io.StringIO()
    console = Console(stream)
    for number in range(100):
        console.progress(f"step {number}")
    console.say("done")
    assert stream.getvalue() == "done\n"


def test_on_a_terminal_progress_overwrites_itself_and_leaves_nothing(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    console = Console(stream)
    console.progress("a long step")
    console.progress("short")
    console.say("done")
    assert stream.getvalue() == "\ra long step\rshort      \r     \rdone\n"
