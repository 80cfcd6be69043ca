"""A tiny Gemma 3 with random weights: layers with a sliding window, prompts longer than the window and a step."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from services.inference.engine import prefill_budget
from services.inference.engine.loader import LoadedModel
from services.inference.engine.native import NativeEngine
from services.inference.engine.protocol import Delta, Event, Finished, ModelInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.inference.engine.protocol import EngineRequest

    Ask = Callable[..., EngineRequest]

VOCABULARY = 64


@pytest.fixture(scope="module")
def gemma(loaded: LoadedModel) -> LoadedModel:
    torch.manual_seed(3)
    model = Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"] * 2,
            max_position_embeddings=256,
            eos_token_id=None,
            bos_token_id=None,
            pad_token_id=0,
        )
    ).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    info = ModelInfo("gemma", "fp32", "cpu", 256, VOCABULARY, 1, "gemma3_text")
    return LoadedModel(model, loaded.tokenizer, info, frozenset())


def _oracle(model: LoadedModel, prompt: tuple[int, ...], most: int) -> list[int]:
    with torch.inference_mode():
        output = model.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
            max_new_tokens=most,
            do_sample=False,
        )
    return output[0, len(prompt) :].tolist()


async def _run(engine: NativeEngine, request: EngineRequest) -> list[Event]:
    return [event async for event in engine.generate(request)]


async def test_windows_steps_and_prompts_of_any_length_give_what_transformers_generates(
    gemma: LoadedModel, ask: Ask, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prefill_budget, "MOST_TOKENS", 5)
    engine = NativeEngine(gemma, max_running=3, prefix_cache_tokens=1000)
    prompts = [tuple((7 * n + k) % VOCABULARY for n in range(length)) for k, length in enumerate((3, 8, 9, 23, 40))]
    requests = [ask(p, max_tokens=20, logprobs=0) for p in prompts]
    replies = await asyncio.gather(*(_run(engine, request) for request in requests))
    tokens = [[p.token_id for e in events if isinstance(e, Delta) for p in e.logprobs] for events in replies]
    assert tokens == [_oracle(gemma, prompt, 20) for prompt in prompts]
    await engine.close()


async def test_a_cache_with_a_window_is_never_reused(gemma: LoadedModel, ask: Ask):
    engine = NativeEngine(gemma, max_running=1, prefix_cache_tokens=1000)
    prompt = tuple(range(20))
    for _ in range(2):
        finished = (await _run(engine, ask(prompt, cache_key="c", max_tokens=4)))[-1]
        assert isinstance(finished, Finished)
        assert finished.cached_tokens == 0
    await engine.close()
