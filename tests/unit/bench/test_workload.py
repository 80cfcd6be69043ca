"""The prompts that contenders are asked."""

from __future__ import annotations

from bench.engine.workload import Prompts


def words(text):
    return text.split()


def test_the_same_seed_makes_the_same_prompts():
    assert Prompts(words, "a").story() == Prompts(words, "a").story()


def test_another_seed_differs_within_the_first_words():
    assert Prompts(words, "a").story()[:4] != Prompts(words, "b").story()[:4]


def test_prompts_of_one_repetition_differ():
    prompts = Prompts(words, "a")
    assert len({prompts.story() for _ in range(64)}) == 64


def test_a_long_prompt_has_exactly_the_length_asked_for():
    assert len(Prompts(words, "a").long(300)) == 300


def test_a_turn_repeats_what_was_said_and_opens_the_reply():
    prompt = Prompts(lambda text: [text], "a").conversation([("hello", "hi")], "bye")
    assert prompt == (
        (
            "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\nhi<|im_end|>\n"
            "<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"
        ),
    )
