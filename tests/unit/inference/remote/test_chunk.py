"""Events of servers, in the forms that they have."""

from __future__ import annotations

import pytest

from services.inference.engine.protocol import TokenLogprob
from services.inference.engine.remote.chunk import Chunk, read_chunk
from services.inference.engine.remote.failures import BadAnswer


def test_text_and_the_reason_are_read_from_chats_and_completions():
    assert read_chunk({"choices": [{"delta": {"role": "assistant", "content": None}}]}) == Chunk()
    assert read_chunk({"choices": [{"delta": {"content": "a"}, "finish_reason": None}]}) == Chunk("a")
    assert read_chunk({"choices": [{"text": "a", "finish_reason": "stop"}]}) == Chunk("a", "stop")


def test_usage_is_read_wherever_it_stands():
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    assert read_chunk({"choices": [], "usage": usage}) == Chunk("", None, 9, 4, 2)
    assert read_chunk({"choices": [], "usage": {**usage, "prompt_tokens_details": None}}) == Chunk("", None, 9, None, 2)
    timings = {"cache_n": 7, "prompt_n": 2, "predicted_n": 3}
    assert read_chunk({"choices": [{"text": "a"}], "usage": None, "timings": timings}) == Chunk("a", None, 9, 7, 3)


def test_logprobs_of_chats_have_ids_and_bytes_where_the_server_tells_them():
    top = {"id": 2, "token": "b", "bytes": None, "logprob": -2}
    entry = {"id": 1, "token": "�", "bytes": [0xD0], "logprob": -0.5, "top_logprobs": [top]}
    choice = {"delta": {"content": ""}, "logprobs": {"content": [entry, {"token": "é", "logprob": -1.0}]}}
    assert read_chunk({"choices": [choice]}).logprobs == (
        TokenLogprob(1, b"\xd0", -0.5, (TokenLogprob(2, b"b", -2.0),)),
        TokenLogprob(-1, "é".encode(), -1.0),
    )


def test_logprobs_of_completions_have_alternatives_best_first():
    logprobs = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"b": -1.5, "a": -1.0}]}
    choice = {"text": "a", "logprobs": logprobs, "token_ids": [5]}
    (logprob,) = read_chunk({"choices": [choice]}).logprobs
    assert logprob == TokenLogprob(5, b"a", -1.0, (TokenLogprob(5, b"a", -1.0), TokenLogprob(-1, b"b", -1.5)))
    (unnumbered,) = read_chunk({"choices": [{**choice, "token_ids": None}]}).logprobs
    assert unnumbered.token_id == -1


def test_half_a_surrogate_pair_is_replaced_and_a_whole_one_paired():
    assert read_chunk({"choices": [{"text": "a\ud83d"}]}).text == "a\ufffd"
    assert read_chunk({"choices": [{"text": "\ud83d\ude00"}]}).text == "😀"


@pytest.mark.parametrize(
    "event",
    [
        {"choices": 7},
        {"choices": ["a"]},
        {"choices": [{"text": 7}]},
        {"choices": [{"text": "", "logprobs": {"tokens": ["a"], "token_logprobs": []}}]},
        {"choices": [], "usage": {"prompt_tokens": "many"}},
    ],
)
def test_what_has_another_form_is_refused(event: dict[str, object]):
    with pytest.raises(BadAnswer):
        read_chunk(event)
