"""The program that measures transformers in process, one line of JSON a question.

`python -m bench.engine.transformers_peer generate|generate_batch FOLDER THREADS [DEVICE [WEIGHTS]]`: greedy, never
ending early; DEVICE is `cpu` or `cuda`, WEIGHTS `bf16` or `bnb-int8`.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    ContinuousBatchingConfig,
    GenerationConfig,
    StoppingCriteria,
    StoppingCriteriaList,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Prompts = list[list[int]]
    Answer = dict[str, Any]

_PAD = 0
_BLOCKS = 256
"""Of 256 tokens each: more than any measure needs. By default nine tenths of the machine's memory are taken."""
_MOST_REQUESTS = 256
"""By default a batch has no more requests than the first call had."""
_BATCH_TOKENS = 2048
_NO_TOKEN = -1
"""An end token that no model generates."""


class _StepClock(StoppingCriteria):
    """Ends nothing; notes when the first step is done."""

    def __init__(self) -> None:
        self.first = 0.0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **rest: Any) -> torch.Tensor:
        self.first = self.first or time.perf_counter()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def generate(model: Any, prompts: Prompts, max_tokens: int) -> Answer:
    """Runs `model.generate` on all prompts as one batch, padded on the left."""
    began = time.perf_counter()
    longest = max(map(len, prompts))
    ids = torch.tensor([[_PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    clock = _StepClock()
    output = model.generate(
        ids.to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=_greedy(max_tokens),
        stopping_criteria=StoppingCriteriaList([clock]),
    ).cpu()
    return {
        "seconds": time.perf_counter() - began,
        "tokens": [output.shape[1] - longest] * len(prompts),
        "firsts": [clock.first - began] * len(prompts),
    }


def generate_batch(model: Any, prompts: Prompts, max_tokens: int) -> Answer:
    """Runs `model.generate_batch`, transformers' continuous batching."""
    began = time.perf_counter()
    outputs = model.generate_batch(
        prompts,
        generation_config=_greedy(max_tokens),
        continuous_batching_config=_batching(model.device.type),
        record_timestamps=True,
        persistent_manager=True,
    )
    seconds = time.perf_counter() - began
    errors = [str(output.error) for output in outputs.values() if output.error]
    if len(outputs) != len(prompts) or errors:
        raise RuntimeError(f"generate_batch lost a request: {', '.join(errors[:1]) or 'without a word'}")
    # Its clock is `time.perf_counter` too.
    return {
        "seconds": seconds,
        "tokens": [len(output.generated_tokens) for output in outputs.values()],
        "firsts": [output.timestamps[0] - began for output in outputs.values() if output.timestamps],
    }


def _batching(device: str) -> ContinuousBatchingConfig:
    if device == "cuda":
        return ContinuousBatchingConfig(max_requests_per_batch=_MOST_REQUESTS)
    return ContinuousBatchingConfig(
        num_blocks=_BLOCKS, max_requests_per_batch=_MOST_REQUESTS, max_batch_tokens=_BATCH_TOKENS
    )


def _load(folder: str, device: str, weights: str) -> Any:
    options: dict[str, Any] = {"dtype": torch.bfloat16}
    if device == "cuda":
        options["device_map"] = {"": device}
    if weights == "bnb-int8":
        quantization: Callable[..., BitsAndBytesConfig] = BitsAndBytesConfig  # untyped
        options["quantization_config"] = quantization(load_in_8bit=True)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, **options)
    return model.eval()


def _greedy(max_tokens: int) -> Any:
    config: Any = GenerationConfig  # its constructor is untyped
    return config(do_sample=False, max_new_tokens=max_tokens, eos_token_id=_NO_TOKEN, pad_token_id=_PAD, use_cache=True)


_WAYS: dict[str, Callable[[Any, Prompts, int], Answer]] = {"generate": generate, "generate_batch": generate_batch}


def main(way: str, folder: str, threads: str, device: str = "cpu", weights: str = "bf16") -> None:
    """Answers until the input ends."""
    # Libraries print to standard output now and then: it is ours alone from here on.
    answers, sys.stdout = sys.stdout, sys.stderr
    torch.set_num_threads(int(threads))
    model = _load(folder, device, weights)
    for line in sys.stdin:
        question = json.loads(line)
        with torch.inference_mode():
            answer = _WAYS[way](model, question["prompts"], question["max_tokens"])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
