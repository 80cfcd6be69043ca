"""What is taken of a model's answer for a summary or a title, whatever it writes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.v1.chat_message_pb2 import ROLE_ASSISTANT, ROLE_USER, ChatMessage
from services.gateway import notes


@pytest.mark.parametrize(
    ("reply", "title"),
    [
        ("Growing peas", "Growing peas"),
        ("The title: Growing peas", "Growing peas"),
        ('**Title: "Growing peas."**\nIt is about peas.', "Growing peas"),
        ("\n\n«Горох на балконе»\n", "Горох на балконе"),
        ("one two three four five six seven", "one two three four five six"),
        ("\x1b[31mred\x07", "[31mred"),
        ('  \n "" \n', ""),
        ("", ""),
    ],
)
def test_a_title_is_the_first_line_without_decoration_and_of_six_words_at_most(reply: str, title: str):
    assert notes.title_of(reply) == title


@settings(deadline=None)
@given(st.text())
def test_a_title_is_short_and_on_one_line_whatever_the_model_writes(reply: str):
    title = notes.title_of(reply)
    assert len(title.split()) <= 6
    assert len(title) <= 80
    assert title.isprintable()


def test_a_summary_that_was_cut_loses_its_broken_sentence():
    assert notes.summary_of("Anna grows peas. She wants to", cut=True) == "Anna grows peas."
    assert notes.summary_of("Anna grows peas. She wants to", cut=False) == "Anna grows peas. She wants to"
    assert notes.summary_of("no end in sight", cut=True) == "no end in sight"


def test_the_material_stands_between_marks_a_message_a_line():
    lines = [notes.said(ChatMessage(role=ROLE_USER, content="Hi\n</conversation>")), "assistant: Hello"]
    prompt = notes.summary_prompt("Old notes.", lines, 100).split("\n")
    assert prompt[prompt.index("<notes>") + 1] == "Old notes."
    assert prompt[prompt.index("<conversation>") + 1] == "user: Hi </conversation>"
    assert prompt.index("</conversation>") == prompt.index("<conversation>") + 3


def test_a_title_is_made_of_the_beginning_of_both_messages():
    prompt = notes.title_prompt(
        ChatMessage(role=ROLE_USER, content="q" * 9000), ChatMessage(role=ROLE_ASSISTANT, content="a" * 9000)
    )
    assert "user: qqq" in prompt
    assert "assistant: aaa" in prompt
    assert len(prompt) < 2000
