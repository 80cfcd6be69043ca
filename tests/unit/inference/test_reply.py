"""The deltas of a reply: which text and which tokens go out together."""

from __future__ import annotations

from tokenizers import Tokenizer, models

from services.inference.engine.protocol import Delta, TokenLogprob
from services.inference.engine.reply import Reply
from services.inference.engine.vocabulary import Vocabulary

WORDS = ("Hello", " wor", "ld", "\n", "User", ":", " bye")
VOCABULARY = Vocabulary(Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)})))


def _run(words: tuple[str, ...], stops: tuple[str, ...]) -> tuple[list[Delta], str | None]:
    reply = Reply(VOCABULARY, stops)
    deltas: list[Delta | None] = []
    for word in words:
        token = WORDS.index(word)
        deltas.append(reply.feed(token, TokenLogprob(token, word.encode(), -1.0)))
        if reply.stop is not None:
            break
    else:
        deltas.append(reply.end())
    return [d for d in deltas if d is not None], reply.stop


def test_without_stop_strings_each_token_goes_out_at_once():
    deltas, stop = _run(WORDS[:3], ())
    assert [(d.text, d.token_count) for d in deltas] == [("Hello", 1), (" wor", 1), ("ld", 1)]
    assert stop is None


def test_tokens_within_a_stop_string_never_go_out():
    deltas, stop = _run(WORDS, ("\nUser:",))
    assert "".join(d.text for d in deltas) == "Hello world"
    assert [p.token for d in deltas for p in d.logprobs] == [b"Hello", b" wor", b"ld"]
    assert stop == "\nUser:"


def test_a_token_that_a_stop_string_begins_in_goes_out_with_what_was_before():
    deltas, stop = _run(WORDS[:3], ("rld",))
    assert "".join(d.text for d in deltas) == "Hello wo"
    assert [p.token for d in deltas for p in d.logprobs] == [b"Hello", b" wor"]
    assert stop == "rld"


def test_what_was_held_back_goes_out_when_the_reply_ends_otherwise():
    deltas, stop = _run(WORDS[:5], ("\nUser:",))
    assert "".join(d.text for d in deltas) == "Hello world\nUser"
    assert sum(d.token_count for d in deltas) == 5
    assert len([p for d in deltas for p in d.logprobs]) == 5
    assert stop is None


def test_a_held_back_end_of_a_token_is_not_lost():
    deltas, _ = _run(("Hello",), ("lox",))
    assert "".join(d.text for d in deltas) == "Hello"
    assert sum(d.token_count for d in deltas) == 1
