"""What `/set` takes."""

from __future__ import annotations

import dataclasses

import pytest

from client.terminal.messages import ENGLISH, Words
from client.terminal.sampling import SAMPLING_NAMES, WrongValue, changed, shown
from client.values import SamplingConfig


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("temperature", "0", 0.0),
        ("temperature", "0,7", 0.7),
        ("top_p", "1", 1.0),
        ("top_k", "40", 40),
        ("min_p", "0.05", 0.05),
        ("repetition_penalty", "1.1", 1.1),
        ("frequency_penalty", "-2", -2.0),
        ("presence_penalty", "2", 2.0),
        ("seed", "18446744073709551615", 2**64 - 1),
        ("max_tokens", "1", 1),
        ("stop", "END 'The end' \\n\\n", ("END", "The end", "\n\n")),
    ],
)
def test_a_value_is_taken_and_default_unsets_it(name: str, typed: str, value: object) -> None:
    sampling = changed(SamplingConfig(), name, typed)
    assert getattr(sampling, name) == value
    assert shown(sampling, name) is not None
    assert changed(sampling, name, "default") == SamplingConfig()
    assert shown(SamplingConfig(), name) is None


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("temperature", "hot"),
        ("temperature", "-0.1"),
        ("temperature", "5.1"),
        ("temperature", "nan"),
        ("temperature", "inf"),
        ("top_p", "0"),
        ("top_k", "1.5"),
        ("top_k", "-1"),
        ("min_p", "2"),
        ("repetition_penalty", "0"),
        ("frequency_penalty", "3"),
        ("seed", "18446744073709551616"),
        ("max_tokens", "0"),
        ("max_tokens", "2147483648"),
        ("stop", "'not closed"),
        ("stop", "''"),
        ("stop", "x " * 17),
        ("stop", "x" * 257),
    ],
)
def test_a_wrong_value_is_refused_with_what_would_be_right(name: str, typed: str) -> None:
    with pytest.raises(WrongValue) as caught:
        changed(SamplingConfig(), name, typed)
    assert Words(ENGLISH)(caught.value.key, name=name, value=typed, **caught.value.limits)


def test_everything_but_logprobs_can_be_set() -> None:
    assert {*SAMPLING_NAMES, "logprobs"} == {field.name for field in dataclasses.fields(SamplingConfig)}
