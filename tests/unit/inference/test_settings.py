"""What the inference service can be told."""

from __future__ import annotations

import pytest

from services.inference.settings import InferenceSettings
from services.rpc.settings import StartupError, load_settings


def test_the_defaults_need_nothing_set(monkeypatch: pytest.MonkeyPatch):
    for name in InferenceSettings.model_fields:
        monkeypatch.delenv(f"CHATBOT_{name.upper()}", raising=False)
    settings = load_settings(InferenceSettings)
    assert (settings.inference_grpc_port, settings.model, settings.weights) == (50053, "embedded", "auto")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CHATBOT_INFERENCE_GRPC_PORT", "70000"),
        ("CHATBOT_WEIGHTS", "int3"),
        ("CHATBOT_DEVICE", "tpu"),
        ("CHATBOT_MAX_RUNNING_REQUESTS", "0"),
        ("CHATBOT_MAX_QUEUED_REQUESTS", "-1"),
        ("CHATBOT_MAX_TOKENS_LIMIT", "0"),
        ("CHATBOT_CONTEXT_TOKENS", "1"),
        ("CHATBOT_THREADS", "0"),
    ],
)
def test_a_wrong_value_is_refused_with_its_variable_and_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(StartupError, match=f"{variable}={value}"):
        load_settings(InferenceSettings)


def test_every_setting_is_described():
    assert all(field.description for field in InferenceSettings.model_fields.values())
