"""One question on the command line, for people and for scripts."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from chatbot.v1 import chat_service_pb2 as pb
from tests.contract.client.scripted_chat import Failure, RunningChat
from tests.contract.client.terminal_driver import ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Callable

    Ask = Callable[..., subprocess.CompletedProcess[str]]

TURN = "6f6c1b9e-6d0c-4f1c-8a6e-0d1f5b0d8a11"


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    published = json.loads(Path(ROOT, "docs/clients/ask.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(published)
    return jsonschema.Draft202012Validator(published)


@pytest.fixture
def ask(running: RunningChat, tmp_path: Path) -> Ask:
    """Asks a question, with nothing on standard input unless told otherwise."""

    def run(*arguments: str, piped: bytes = b"", **extra: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "client", "ask", "--address", running.address, *arguments],
            input=piped,
            capture_output=True,
            cwd=ROOT,
            env=environment(tmp_path, extra),
            timeout=30,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def events(done: subprocess.CompletedProcess[str], schema: jsonschema.Draft202012Validator) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in done.stdout.splitlines()]
    for event in read:
        schema.validate(event)
    return read


def chat_requests(running: RunningChat) -> list[pb.ChatRequest]:
    return [request for request in running.service.requests if isinstance(request, pb.ChatRequest)]


def test_a_question_is_answered_on_standard_output(ask: Ask, running: RunningChat) -> None:
    done = ask("What is 2 + 2?")
    assert (done.returncode, done.stdout, done.stderr) == (0, "You said: What is 2 + 2?\n", "")
    assert chat_requests(running)[0].conversation == ""


def test_piped_input_stands_before_the_question(ask: Ask, running: RunningChat) -> None:
    done = ask("Summarise.", piped="Первая строка\nвторая\n".encode())
    assert done.returncode == 0
    assert chat_requests(running)[0].text == "Первая строка\nвторая\n\nSummarise."


def test_at_a_terminal_nothing_is_read(running: RunningChat, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "client", "ask", "Hi", "--address", running.address],
            stdin=slave,
            capture_output=True,
            cwd=ROOT,
            env=environment(tmp_path),
            timeout=30,
            check=False,
        )
    finally:
        os.close(slave)
        os.close(master)
    assert done.stdout == b"You said: Hi\n"


def test_nothing_to_say_is_wrong_use(ask: Ask, running: RunningChat) -> None:
    done = ask(" ")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Standard input holds no text: there is nothing to say.\n"
    assert ask("Hi", piped=b"\xff").returncode == 2
    too_long = ask("Hi", piped=b"a" * 1_000_001)
    assert too_long.returncode == 2
    assert "1000000 bytes" in too_long.stderr
    assert running.service.requests == []


def test_options_reach_the_backend(ask: Ask, running: RunningChat) -> None:
    done = ask(
        "Hi", "--conversation", "conversations/7", "--no-recall", "--temperature", "0,5", "--top-k", "3", "--seed", "9",
        "--max-tokens", "11", "--stop", "END", "--stop", "The end", "--request-id", TURN,
    )  # fmt: skip
    [request] = chat_requests(running)
    assert request.conversation == "conversations/7"
    assert request.request_id == TURN
    assert request.recall.HasField("enabled")
    assert not request.recall.enabled
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_k, sampling.seed, sampling.max_tokens) == (0.5, 3, 9, 11)
    assert list(sampling.stop) == ["END", "The end"]
    assert not sampling.HasField("top_p")
    assert done.returncode != 2


def test_the_last_conversation_can_be_gone_on_with(ask: Ask, running: RunningChat) -> None:
    none = ask("Hi", "--conversation", "last")
    assert (none.returncode, none.stderr.startswith("Error: There is no conversation yet")) == (1, True)
    ask("one")
    ask("two", "--conversation", "last")
    assert [request.conversation for request in chat_requests(running)] == ["", "conversations/1"]


def test_a_value_that_an_option_does_not_take_is_refused_before_anything_is_asked(
    ask: Ask, running: RunningChat
) -> None:
    done = ask("Hi", "--top-p", "2")
    assert done.returncode == 2
    assert done.stderr == "--top-p: top_p wants a number over 0, up to 1, not 2.\n"
    assert running.service.requests == []


def test_json_tells_the_whole_turn_in_lines_of_the_published_schema(
    ask: Ask, schema: jsonschema.Draft202012Validator
) -> None:
    ask("Tomatoes \u2028 are ripe")
    done = ask("recall Tomatoes", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    started, *deltas, finished = events(done, schema)
    assert done.stdout.count("\n") == len(deltas) + 2
    assert started["type"] == "started"
    assert started["recalled"][0]["text"] == "Tomatoes \u2028 are ripe"
    assert {delta["type"] for delta in deltas} == {"delta"}
    assert "".join(delta["text"] for delta in deltas) == finished["text"] == "You said: recall Tomatoes"
    assert finished["finish_reason"] == "eos"
    assert finished["usage"] == {"prompt_tokens": 7, "cached_tokens": 4, "completion_tokens": 3}
    assert finished["timings"]["tokens_per_second"] == 20
    assert finished["first_text_seconds"] > 0


def test_the_same_request_id_again_replays(ask: Ask, schema: jsonschema.Draft202012Validator) -> None:
    turn = ("Hi", "--json", "--request-id", TURN)
    first, again = events(ask(*turn), schema), events(ask(*turn), schema)
    assert not first[0]["replayed"]
    assert again[0]["replayed"]
    assert again[-1]["message"] == first[-1]["message"]
    assert again[-1]["timings"] is None


def test_errors_are_json_too_and_have_exit_statuses(
    ask: Ask, running: RunningChat, failure: Callable[..., Failure], schema: jsonschema.Draft202012Validator
) -> None:
    running.service.failures = [
        failure("RESOURCE_EXHAUSTED", "OVERLOADED", "Too many replies.", {"limit": "64"}, retry_seconds=7)
    ]
    overloaded = ask("Hi", "--json")
    [error] = events(overloaded, schema)
    assert (overloaded.returncode, overloaded.stderr) == (1, "")
    assert (error["reason"], error["code"], error["retry_after_seconds"]) == ("OVERLOADED", "RESOURCE_EXHAUSTED", 7)
    assert error["metadata"] == {"limit": "64"}
    assert error["request_id"]

    wrong = ask("Hi", "--json", "--seed", "x")
    assert (wrong.returncode, wrong.stderr) == (2, "")
    assert events(wrong, schema)[0]["reason"] == "WRONG_USE"

    lost = ask("broken off", "--json")
    *_, error = events(lost, schema)
    assert (lost.returncode, error["reason"]) == (1, "TRUNCATED")

    nobody = ask("Hi", "--json", "--address", "127.0.0.1:1")
    assert nobody.returncode == 3
    assert events(nobody, schema)[0]["reason"] == "NOT_CONNECTED"


def test_a_key_is_taken_from_the_environment_or_a_file_and_its_lack_is_told(
    ask: Ask, running: RunningChat, tmp_path: Path
) -> None:
    running.service.keys = {"cb_secret"}
    refused = ask("Hi")
    assert refused.returncode == 4
    assert refused.stderr == (
        "Error: An API key is needed. Give yours in CHATBOT_API_KEY, or in a file that --api-key-file names.\n"
    )
    assert ask("Hi", CHATBOT_API_KEY="cb_secret").returncode == 0
    (tmp_path / "key").write_text("cb_secret\n")
    assert ask("Hi", "--api-key-file", str(tmp_path / "key")).returncode == 0
    missing = ask("Hi", "--api-key-file", str(tmp_path / "none"))
    assert missing.returncode == 2
    assert "none cannot be read (No such file or directory)" in missing.stderr
    exposed = ask("Hi", "--address", "chat.example:50051", CHATBOT_API_KEY="cb_secret")
    assert exposed.returncode == 2
    assert exposed.stderr == "Others could read the API key on its way to chat.example:50051: add --tls.\n"


def test_ctrl_c_keeps_what_had_come_and_json_says_so(
    running: RunningChat, tmp_path: Path, schema: jsonschema.Draft202012Validator
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "client", "ask", "slow", "--json", "--address", running.address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(tmp_path),
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "")
    read = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    for event in read:
        schema.validate(event)
    assert [event["type"] for event in read[:3]] == ["started", "delta", "delta"]
    assert read[-1]["type"] == "cancelled"
    assert read[-1]["text"] == "".join(event.get("text", "") for event in read[:-1])
    assert running.service.cancelled.wait(10)
    kept = running.service.users[""].messages["conversations/1"][-1]
    assert kept.content.startswith("word0 word1 ")
