"""The terminal program, as a person drives it."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest

from chatbot.v1 import chat_message_pb2
from chatbot.v1 import chat_service_pb2 as pb
from tests.contract.client.scripted_chat import RunningChat, start
from tests.contract.client.terminal_driver import CTRL_C, CTRL_D, ENTER, UP, TerminalDriver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def chat_requests(running: RunningChat) -> list[pb.ChatRequest]:
    return [request for request in running.service.requests if isinstance(request, pb.ChatRequest)]


def test_a_first_conversation(open_terminal: Callable[..., TerminalDriver]) -> None:
    terminal = open_terminal()
    assert terminal.wait_for_prompt().startswith("SmolLM2-135M-Instruct · bf16 · small, English only\n")
    terminal.say("Hello there")
    assert "> Hello there\nYou said: Hello there\n>" in terminal.wait_for("You said: Hello there\n>")
    terminal.type(CTRL_D)
    assert terminal.wait_for_exit() == 0


def test_markdown_is_rendered_as_it_streams(open_terminal: Callable[..., TerminalDriver]) -> None:
    terminal = open_terminal(columns=40)
    terminal.wait_for_prompt()
    terminal.say("markdown")
    screen = terminal.wait_for("Done.\n>")
    assert "Plan\n\n 1 Sow the seeds 🍅\n 2 Water\n\nprint('готово')\n\nDone." in screen.replace("🍅 ", "🍅")


def test_plain_text_where_plain_is_asked_for(open_terminal: Callable[..., TerminalDriver]) -> None:
    terminal = open_terminal("--plain")
    terminal.wait_for_prompt()
    terminal.say("markdown")
    assert "1. **Sow** the seeds" in terminal.wait_for("Done.\n>")


def test_a_dumb_terminal_gets_no_escape_sequences_in_replies(open_terminal: Callable[..., TerminalDriver]) -> None:
    terminal = open_terminal(extra={"TERM": "dumb"})
    terminal.wait_for_prompt()
    terminal.say("markdown")
    terminal.wait_for("Done.")
    typed_and_answered = terminal.raw.partition(b"SmolLM2")[2]
    assert b"\x1b" not in typed_and_answered
    assert b"**Sow**" in typed_and_answered


def test_no_color_is_respected(open_terminal: Callable[..., TerminalDriver]) -> None:
    terminal = open_terminal(extra={"NO_COLOR": "1"})
    terminal.wait_for_prompt()
    terminal.say("markdown")
    terminal.wait_for("Done.\n>")
    assert b"\x1b[3" not in terminal.raw.partition(b"Plan")[2].partition(b"Done.")[0].replace(b"\x1b[?", b"")


def test_ctrl_c_stops_the_reply_and_not_the_program_and_the_backend_stops(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say("slow")
    terminal.wait_for("word3")
    terminal.type(CTRL_C)
    terminal.wait_for("(stopped)\n>")
    assert running.service.cancelled.wait(10)
    kept = running.service.users[""].messages["conversations/1"][-1]
    assert kept.finish_reason == chat_message_pb2.FINISH_REASON_CANCELLED
    assert "^C" not in terminal.text()
    terminal.say("and now")
    terminal.wait_for("You said: and now\n>")
    assert chat_requests(running)[-1].conversation == "conversations/1"


def test_keys_pressed_during_a_reply_do_not_disturb_it(open_terminal: Callable[..., TerminalDriver]) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say("slow")
    terminal.wait_for("word3")
    terminal.type("xyz")
    terminal.wait_for("word9")
    assert "xyz" not in terminal.text()
    terminal.type(CTRL_C)
    terminal.wait_for("> xyz")


def test_ctrl_c_at_the_prompt_clears_the_line(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.type("not this")
    terminal.wait_for("> not this")
    terminal.type(CTRL_C)
    terminal.wait_for_prompt()
    terminal.say("this")
    terminal.wait_for("You said: this\n>")
    assert [request.text for request in chat_requests(running)] == ["this"]


def test_three_quotes_begin_and_end_several_lines(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say('"""первая строка')
    terminal.say("/help")
    terminal.say('вторая"""')
    terminal.wait_for("You said: первая строка")
    terminal.wait_for_prompt()
    assert [request.text for request in chat_requests(running)] == ["первая строка\n/help\nвторая"]


def test_arrow_keys_bring_back_what_was_typed_also_in_the_next_session(
    open_terminal: Callable[..., TerminalDriver], tmp_path: Path
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say("Помнишь меня?")
    terminal.wait_for("You said: Помнишь меня?\n>")
    terminal.type(UP)
    terminal.wait_for("> Помнишь меня?", times=2)
    assert stat.S_IMODE((tmp_path / "terminal-history").stat().st_mode) == 0o600
    again = open_terminal()
    again.wait_for_prompt()
    again.type(UP)
    again.wait_for("> Помнишь меня?")


def test_it_resumes_the_latest_conversation_unless_told_otherwise(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    first = open_terminal()
    first.wait_for_prompt()
    first.say("Grow tomatoes")
    first.wait_for("You said: Grow tomatoes\n>")
    second = open_terminal()
    second.wait_for("Going on with “Grow tomatoes” (2 messages).")
    second.wait_for_prompt()
    second.say("more")
    second.wait_for("You said: more\n>")
    assert chat_requests(running)[-1].conversation == "conversations/1"
    third = open_terminal("--new")
    assert "Going on" not in third.wait_for_prompt()
    third.say("else")
    third.wait_for("You said: else\n>")
    assert chat_requests(running)[-1].conversation == ""


def test_a_language_the_model_lacks_is_told_once_and_in_that_language(
    open_terminal: Callable[..., TerminalDriver],
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say("Привет! Кто ты?")
    terminal.wait_for("You said: Привет! Кто ты?\n>")
    terminal.say("Как дела?")
    terminal.wait_for("You said: Как дела?\n>")
    joined = " ".join(terminal.text().split())
    assert joined.count("не рассчитана на русский язык") == 1
    assert joined.count("python run.py --model google/gemma-3-1b-it") == 1


def test_a_model_that_has_the_language_gets_no_notice(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    running.service.languages = ["en", "ru"]
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say("Привет! Кто ты?")
    terminal.wait_for("You said: Привет! Кто ты?\n>")
    assert "рассчитана" not in terminal.text()


def test_conversations_are_listed_opened_searched_and_deleted(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    terminal = open_terminal(lines=60)
    terminal.wait_for_prompt()
    for text in ("red apples", "/new", "green pears"):
        terminal.say(text)
        terminal.wait_for("A new conversation." if text == "/new" else f"You said: {text}\n>")
    terminal.say("/list")
    screen = terminal.wait_for("  2  2026-05-28")
    assert "*  1  2026-05-28" in screen
    terminal.wait_for("red apples (2 messages)")
    terminal.say("/open 2")
    terminal.wait_for("“red apples”, 2 messages.\n> red apples\nYou said: red apples\n>")
    terminal.say("/search PEARS")
    terminal.wait_for("  you  /open 1\n    green pears\n")
    terminal.wait_for_prompt()
    terminal.say("/delete")
    terminal.wait_for("Delete “red apples” and everything said in it, for good? [y/N]")
    terminal.say("n")
    terminal.wait_for("Kept.")
    terminal.say("/delete 2")
    terminal.wait_for("for good? [y/N]", times=2)
    terminal.say("y")
    terminal.wait_for("Deleted.\n>")
    assert list(running.service.users[""].conversations) == ["conversations/2"]
    terminal.say("afresh")
    terminal.wait_for("You said: afresh\n>")
    assert chat_requests(running)[-1].conversation == ""


def test_a_reply_can_be_regenerated(open_terminal: Callable[..., TerminalDriver], running: RunningChat) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say("/regenerate")
    terminal.wait_for("Nothing has been said in this conversation yet.")
    terminal.say("again")
    terminal.wait_for("You said: again\n>")
    terminal.say("/regenerate")
    terminal.wait_for("You said: again\n>", times=2)
    assert isinstance(running.service.requests[-1], pb.RegenerateRequest)


def test_settings_are_set_shown_unset_and_refused(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    terminal = open_terminal(columns=120, lines=80)
    terminal.wait_for_prompt()
    terminal.say("/set temperature 0,25")
    terminal.wait_for("temperature: 0.25\n>")
    terminal.say("/set top_k -1")
    terminal.wait_for("top_k wants a whole number from 0")
    terminal.say('/set stop "The end" END')
    terminal.wait_for("stop: 'The end' END\n>")
    terminal.say("/set system Be brief.")
    terminal.wait_for("system: Be brief.\n>")
    terminal.say("Hi")
    terminal.wait_for("You said: Hi\n>")
    request = chat_requests(running)[-1]
    assert request.conversation == "conversations/1"
    assert running.service.users[""].conversations["conversations/1"].system_prompt == "Be brief."
    assert request.sampling.temperature == pytest.approx(0.25)
    assert list(request.sampling.stop) == ["The end", "END"]
    assert not request.sampling.HasField("seed")
    terminal.say("/set temperature default")
    terminal.wait_for("temperature: as the model has it")
    terminal.say("/show")
    screen = terminal.wait_for("seed: not set")
    assert "temperature: 0.7 (the model's)" in screen
    assert "model: SmolLM2-135M-Instruct · bf16 · cpu · small, English only · 2048 tokens of context" in screen
    terminal.say("/set system default")
    terminal.wait_for("system: none\n>")
    assert running.service.users[""].conversations["conversations/1"].system_prompt == ""


def test_an_unknown_command_names_the_nearest(open_terminal: Callable[..., TerminalDriver]) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say("/regenrate")
    terminal.wait_for("There is no command /regenrate. Did you mean /regenerate?\n>")
    terminal.say("/help")
    terminal.wait_for("/search WORDS")
    terminal.say("/quit")
    assert terminal.wait_for_exit() == 0


def test_errors_are_one_line_and_the_session_goes_on(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat, failure: Any
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    running.service.failures = [failure("RESOURCE_EXHAUSTED", "OVERLOADED", "Too many replies.", retry_seconds=7)]
    terminal.say("one")
    terminal.wait_for("Error: Too many replies. Try again in 7 s.\n>")
    terminal.say("limit")
    terminal.wait_for("(cut off after the most tokens allowed;")
    terminal.say("broken off")
    terminal.wait_for("Error: The reply broke off before its end.\n>")
    running.service.failures = [failure("ABORTED", "CONVERSATION_BUSY", "Busy.", retry_seconds=0.01)] * 2
    terminal.say("two")
    terminal.wait_for("You said: two\n>")
    assert len({request.request_id for request in chat_requests(running)[-3:]}) == 1
    assert "Traceback" not in terminal.text()


def test_a_lost_connection_is_told_and_found_again_and_the_message_is_said_once(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    running.server.stop(grace=0).wait()
    terminal.say("anyone?")
    terminal.wait_for(f"No answer from {running.address}. Trying again; Ctrl-C gives up.")
    again = start(running.address, running.service)
    try:
        terminal.wait_for("Connected again.\nYou said: anyone?\n>")
    finally:
        again.server.stop(grace=0).wait()
    assert [m.content for m in running.service.users[""].messages["conversations/1"]] == [
        "anyone?",
        "You said: anyone?",
    ]


def test_a_backend_that_comes_back_part_by_part_is_waited_for(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat, failure: Any
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    running.server.stop(grace=0).wait()
    terminal.say("anyone?")
    terminal.wait_for("Trying again; Ctrl-C gives up.")
    running.service.failures = [
        *[failure("UNAVAILABLE", "MODEL_LOADING", "Loading.", retry_seconds=0.01)] * 5,
        failure("ABORTED", "CONVERSATION_BUSY", "Busy.", retry_seconds=0.01),
    ]
    again = start(running.address, running.service)
    try:
        terminal.wait_for("Connected again.\nIt is not ready yet; Ctrl-C gives up.\nYou said: anyone?\n>")
    finally:
        again.server.stop(grace=0).wait()
    assert len({request.request_id for request in chat_requests(running)}) == 1


def test_a_missing_key_is_told_with_what_to_do(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    running.service.keys = {"cb_secret"}
    terminal = open_terminal(columns=120)
    terminal.wait_for(
        "Error: An API key is needed. Give yours in CHATBOT_API_KEY, or in a file that --api-key-file names."
    )
    with_key = open_terminal(extra={"CHATBOT_API_KEY": "cb_secret"})
    assert with_key.wait_for_prompt().startswith("SmolLM2-135M-Instruct")


def test_trying_again_can_be_given_up_and_the_same_message_again_is_the_same_turn(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say("silent")
    assert running.service.waiting.wait(10)
    running.server.stop(grace=0).wait()
    terminal.wait_for("Trying again; Ctrl-C gives up.")
    terminal.type(CTRL_C)
    terminal.wait_for("(stopped)\n>")
    again = start(running.address, running.service)
    try:
        terminal.say("silent")
        terminal.wait_for("You said: silent\n>")
    finally:
        again.server.stop(grace=0).wait()
    assert len({request.request_id for request in chat_requests(running)}) == 1
    assert list(running.service.users[""].conversations) == ["conversations/1"]


def test_it_speaks_russian_where_the_locale_does_on_a_narrow_terminal(
    open_terminal: Callable[..., TerminalDriver],
) -> None:
    terminal = open_terminal(columns=40, extra={"LC_ALL": "ru_RU.UTF-8"})
    terminal.wait_for("Ctrl-C останавливает ответ")
    terminal.wait_for_prompt()
    text = "Очень длинное сообщение, которому не хватит одной строки 🍅🍅🍅 в узком окне"
    terminal.say(text)
    terminal.wait_for("You said:")
    terminal.wait_for_prompt()
    rows = terminal.text().split("\n")
    reply = " ".join(rows[next(i for i, row in enumerate(rows) if row.startswith("You said:")) :])
    assert " ".join(reply.replace(" ", "").split()).startswith(f"Yousaid:{text.replace(' ', '')}")
    terminal.say("/quti")
    terminal.wait_for("Нет команды /quti. Может быть, /quit?")


def test_a_line_of_spaces_says_nothing(open_terminal: Callable[..., TerminalDriver], running: RunningChat) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.type("   " + ENTER)
    terminal.say("something")
    terminal.wait_for("You said: something\n>")
    assert len(chat_requests(running)) == 1


def test_a_connection_lost_mid_reply_brings_back_what_was_kept_of_it(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say("slow")
    terminal.wait_for("word3")
    running.server.stop(grace=0).wait()
    screen = terminal.wait_for(f"\nNo answer from {running.address}. Trying again; Ctrl-C gives up.")
    before_error = screen.split("\nNo answer")[0].split("\n")
    assert before_error[3].startswith("word0 word1 word2 word3")
    assert "chttp2" not in screen
    assert running.service.cancelled.wait(10)
    again = start(running.address, running.service)
    try:
        terminal.wait_for("(cut off: the connection was lost; /regenerate tries again)\n>")
        said = running.service.users[""].messages["conversations/1"]
        assert [m.role for m in said] == [chat_message_pb2.ROLE_USER, chat_message_pb2.ROLE_ASSISTANT]
        terminal.say("and now")
        terminal.wait_for("You said: and now\n>")
        assert chat_requests(running)[-1].conversation == "conversations/1"
    finally:
        again.server.stop(grace=0).wait()


def test_ctrl_c_before_the_first_word_of_a_new_conversation_does_not_lose_the_conversation(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say("silent")
    assert running.service.waiting.wait(10)
    terminal.type(CTRL_C)
    terminal.wait_for("(stopped)\n>")
    terminal.say("something else")
    terminal.wait_for("You said: something else\n>")
    assert chat_requests(running)[-1].conversation == "conversations/1"
    assert list(running.service.users[""].conversations) == ["conversations/1"]


def test_a_conversation_that_was_deleted_elsewhere_fails_one_message_only(
    open_terminal: Callable[..., TerminalDriver], running: RunningChat, failure: Any
) -> None:
    terminal = open_terminal()
    terminal.wait_for_prompt()
    terminal.say("one")
    terminal.wait_for("You said: one\n>")
    running.service.failures = [failure("NOT_FOUND", "CONVERSATION_NOT_FOUND", "There is no such conversation.")]
    terminal.say("two")
    terminal.wait_for("Error: There is no such conversation.\n>")
    terminal.say("three")
    terminal.wait_for("You said: three\n>")
    assert chat_requests(running)[-1].conversation == ""
