"""The conversations that recall is measured on."""

from __future__ import annotations

import re

import pytest

from bench.memory.dialogues import CONVERSATIONS, HALVES, dialogues


def test_there_are_at_least_thirty_in_two_languages_and_they_are_the_same_each_time():
    talks = {half: dialogues(half) for half in HALVES}
    assert sum(len(each) for each in talks.values()) == sum(CONVERSATIONS.values()) >= 30
    assert {talk.language for each in talks.values() for talk in each} == {"en", "ru"}
    assert talks["report"] == dialogues("report")


@pytest.mark.parametrize("half", HALVES)
def test_evidence_is_a_turn_of_the_conversation_and_no_slot_is_left_open(half):
    for talk in dialogues(half):
        assert len({turn.author for turn in talk.turns}) == 2
        assert [turn.said for turn in talk.turns] == sorted(turn.said for turn in talk.turns)
        for question in talk.questions:
            assert question.evidence
            assert max(question.evidence) < len(talk.turns)
        for text in (*(turn.text for turn in talk.turns), *(question.text for question in talk.questions)):
            assert not re.search(r"[{}]", text), text


def test_the_halves_share_no_question_but_those_over_several_turns():
    def asked(half):
        names = {turn.author for talk in dialogues(half) for turn in talk.turns}
        return {
            question.text.replace(name, "…")
            for talk in dialogues(half)
            for question in talk.questions
            if question.kind != "multi"
            for name in names
            if name in question.text
        }

    assert not asked("tuning") & asked("report")
