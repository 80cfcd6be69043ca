"""The fields that say how tokens are chosen, which chat completions and completions share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from chatbot.v1.inference_service_pb2 import SamplingConfig
from services.gateway.openai_api.schema import RequestModel
from services.rpc.errors import invalid_field
from services.rpc.request_rules import MAX_STOP_STRINGS, check_sampling

MAX_CHOICES = 16
"""Most replies to one request."""

_SEED_MASK = (1 << 64) - 1

TokenCount = Annotated[int, Field(ge=1, le=2**31 - 1)]
StopString = Annotated[str, Field(min_length=1, max_length=256)]
Stop = StopString | Annotated[list[StopString], Field(max_length=MAX_STOP_STRINGS)]


class SamplingFields(RequestModel):
    """How tokens are chosen. What is not set is as the model's makers recommend it.

    `top_k`, `min_p` and `repetition_penalty` are not OpenAI's, but other servers' too, under these names.
    """

    temperature: Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Stop | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    logit_bias: dict[str, Any] | None = None
    grammar: Any = None
    prompt_logprobs: Any = None

    @property
    def choices(self) -> int:
        """How many replies are asked for."""
        return self.n or 1

    def config(self, max_tokens: int | None, logprobs: int | None, choice: int = 0) -> SamplingConfig:
        """Returns what the inference service is asked for.

        Args:
            max_tokens: See `SamplingConfig.max_tokens`; None: not set.
            logprobs: See `SamplingConfig.logprobs`; None: not set.
            choice: Which of several replies this is; each has a seed of its own.

        Raises:
            InvalidArgument: A field is out of its range, or not supported.
        """
        if self.logit_bias:
            raise invalid_field("logit_bias", "is not supported")
        if self.grammar:
            raise invalid_field("grammar", "is not supported; a JSON Schema is, as response_format")
        if self.prompt_logprobs is not None:
            raise invalid_field("prompt_logprobs", "is not supported; those of the reply are, by logprobs")
        config = SamplingConfig(stop=[self.stop] if isinstance(self.stop, str) else self.stop or ())
        values = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            # -1 is vLLM's "all".
            "top_k": 0 if self.top_k == -1 else self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "seed": None if self.seed is None else (self.seed + choice) & _SEED_MASK,
            "max_tokens": max_tokens,
            "logprobs": logprobs,
        }
        if self.top_p == 0:
            # No token's probability reaches beyond a sum of 0 but that of the most probable one.
            values |= {"top_p": None, "top_k": 1}
        for name, value in values.items():
            if value is not None:
                setattr(config, name, value)
        check_sampling(config)
        return config
