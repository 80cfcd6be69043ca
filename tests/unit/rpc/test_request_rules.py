"""The rules of the protocol that more than one service holds requests to."""

import pytest

from chatbot.v1.inference_service_pb2 import SamplingConfig
from services.rpc.errors import InvalidArgument
from services.rpc.request_rules import MAX_TEXT_BYTES, check_request_id, check_sampling, check_text

NAN = float("nan")
INFINITY = float("inf")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 5.1),
        ("temperature", NAN),
        ("temperature", INFINITY),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_p", NAN),
        ("top_k", -1),
        ("min_p", -0.5),
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", INFINITY),
        ("frequency_penalty", 2.5),
        ("presence_penalty", -2.5),
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("logprobs", 21),
        ("logprobs", -1),
        ("stop", ["x"] * 17),
    ],
)
def test_an_absurd_sampling_value_is_refused_by_its_name(field: str, value: object):
    with pytest.raises(InvalidArgument) as refused:
        check_sampling(SamplingConfig(**{field: value}))
    assert [v.field for v in refused.value.violations] == [f"sampling.{field}"]


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(),
        SamplingConfig(temperature=0, top_p=1, top_k=0, min_p=0, repetition_penalty=1, max_tokens=1, logprobs=0),
        SamplingConfig(temperature=5, min_p=1, repetition_penalty=10, frequency_penalty=-2, presence_penalty=2),
        SamplingConfig(stop=["x" * 256] * 16, seed=2**64 - 1, logprobs=20),
    ],
    ids=["nothing", "lowest", "highest", "stops"],
)
def test_values_at_the_edge_are_taken(sampling: SamplingConfig):
    check_sampling(sampling)


def test_a_stop_string_of_no_or_too_many_characters_is_refused_by_its_place():
    with pytest.raises(InvalidArgument) as refused:
        check_sampling(SamplingConfig(stop=["ok", "", "x" * 257]))
    assert [v.field for v in refused.value.violations] == ["sampling.stop[1]", "sampling.stop[2]"]


def test_all_wrong_fields_are_named_at_once():
    with pytest.raises(InvalidArgument) as refused:
        check_sampling(SamplingConfig(temperature=-1, top_p=2, max_tokens=0))
    assert {v.field for v in refused.value.violations} == {
        "sampling.temperature",
        "sampling.top_p",
        "sampling.max_tokens",
    }


def test_a_request_id_is_brought_to_one_form():
    assert check_request_id("123E4567E89B42D3A456426614174000") == "123e4567-e89b-42d3-a456-426614174000"


@pytest.mark.parametrize("request_id", ["", "1", "not-a-uuid", "123e4567-e89b-42d3-a456-42661417400g"])
def test_a_request_id_that_is_no_uuid_is_refused(request_id: str):
    with pytest.raises(InvalidArgument, match="must be a UUID"):
        check_request_id(request_id)


@pytest.mark.parametrize("text", ["", " ", "\n\t\u2003", "a\0b", "x" * (MAX_TEXT_BYTES + 1), "я" * 500_001])
def test_text_that_cannot_be_said_is_refused(text: str):
    with pytest.raises(InvalidArgument) as refused:
        check_text(text, "text")
    assert [v.field for v in refused.value.violations] == ["text"]


@pytest.mark.parametrize("text", ["a", "я" * 500_000, "\x1b[31mred", "\u200bx", "👩‍👩‍👧"])
def test_any_other_text_is_taken(text: str):
    check_text(text, "text")
