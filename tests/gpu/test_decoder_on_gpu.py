"""The slim decoder on a GPU: transformers' greedy `generate` on the same GPU is the oracle, in fp32.

Of tests beside these nothing is used, so that a machine with little installed can run them:
`python -m pytest -c /dev/null --rootdir . --confcutdir tests/gpu --import-mode=importlib tests/gpu`
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch

from bench.gpu import random_model
from services.inference.engine.decoder import Decoder
from services.inference.engine.loader import LoadedModel, load_model
from services.inference.engine.model_source import ModelFolder
from services.inference.engine.native import NativeEngine
from services.inference.engine.paged_runner import PagedRunner
from services.inference.engine.protocol import Delta, EngineRequest, Finished, SamplingParams
from services.inference.engine.runner_choice import Readying
from services.inference.progress import Progress
from services.inference.settings import InferenceSettings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gpu

CONTEXT = 1024
WINDOWS = {"sliding_window": 40, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
FAMILIES: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen3": {},
    "gemma2": {**WINDOWS, "query_pre_attn_scalar": 32},
    "gemma3_text": {**WINDOWS, "query_pre_attn_scalar": 32},
}
LENGTHS = [1 + (53 * n) % 611 for n in range(24)]
MOST = 24
NEAR_TIE = 1e-3
"""Of a logit: kernels for other shapes add in another order."""


@dataclass(frozen=True)
class Model:
    loaded: LoadedModel
    oracle: Any


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    sizes = {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": CONTEXT,
        **FAMILIES[request.param],
    }
    oracle = random_model.write(folder, request.param, sizes, dtype=torch.float32, spread=0.2)
    return Model(_load(folder, "fp32"), oracle)


def _load(folder: Path, weights: str) -> LoadedModel:
    settings = InferenceSettings(model=str(folder), data_dir=folder, device="cuda", weights=weights)
    return load_model(settings, ModelFolder("tiny", folder), Progress())


def _engine(
    loaded: LoadedModel, most: int, *, seconds: float = 60.0, fuse: bool = False, prefix_cache_tokens: int = 0
) -> NativeEngine:
    readying = Readying(seconds, lambda _: None, fuse=fuse)
    return NativeEngine(
        loaded,
        max_running=most,
        prefix_cache_tokens=prefix_cache_tokens,
        kv_cache_tokens=8 * CONTEXT,
        readying=readying,
    )


def _request(prompt: tuple[int, ...], most: int, cache_key: str = "") -> EngineRequest:
    params = SamplingParams(0.0, 1.0, 0, 0.0, 1.0, 0.0, 0.0, 1, most, logprobs=0)
    return EngineRequest(prompt, params, cache_key)


def _prompt(length: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(512, (length,), generator=torch.Generator().manual_seed(seed)).tolist())


async def _reply(engine: NativeEngine, request: EngineRequest) -> tuple[list[int], Finished]:
    events = [event async for event in engine.generate(request)]
    assert isinstance(events[-1], Finished)
    return [p.token_id for e in events if isinstance(e, Delta) for p in e.logprobs], events[-1]


def _ask(engine: NativeEngine, requests: list[EngineRequest]) -> list[tuple[list[int], Finished]]:
    async def all_at_once() -> list[tuple[list[int], Finished]]:
        return list(await asyncio.gather(*(_reply(engine, request) for request in requests)))

    return asyncio.run(all_at_once())


def _check(tokens: list[int], oracle: Any, prompt: tuple[int, ...]) -> bool:
    """Compares with what transformers says; returns whether they part at a near tie."""
    ids = torch.tensor([prompt], device="cuda")
    with torch.inference_mode():
        output = oracle.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=len(tokens),
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    expected = output.sequences[0, len(prompt) :].tolist()
    if tokens == expected:
        return False
    parting = next(n for n, (own, theirs) in enumerate(zip(tokens, expected, strict=True)) if own != theirs)
    logits = output.logits[parting][0]
    margin = float(logits[expected[parting]] - logits[tokens[parting]])
    assert margin < NEAR_TIE, f"token {parting} is another, by {margin} of a logit"
    return True


@pytest.mark.parametrize("most", [1, 12])
@pytest.mark.parametrize("seconds", [0.0, 60.0], ids=["operation by operation", "recorded"])
def test_replies_are_what_transformers_says(model: Model, most: int, seconds: float):
    engine = _engine(model.loaded, most, seconds=seconds)
    assert isinstance(engine._steps._runner, PagedRunner)
    recorded = engine._steps._runner._decode_steps.shapes
    assert bool(recorded) == (seconds > 0)
    prompts = [_prompt(length, length) for length in LENGTHS]
    replies = _ask(engine, [_request(prompt, MOST) for prompt in prompts])
    parted = [_check(tokens, model.oracle, p) for (tokens, _), p in zip(replies, prompts, strict=True)]
    assert sum(parted) <= 1
    asyncio.run(engine.close())


def test_a_prefix_is_reused_and_shared(model: Model):
    engine = _engine(model.loaded, 4, prefix_cache_tokens=4000)
    history, computed = _prompt(137, 1), 0
    for turn in range(3):
        ((tokens, end),) = _ask(engine, [_request(history, 13, "c")])
        _check(tokens, model.oracle, history)
        assert end.cached_tokens == computed
        computed = len(history) + 12
        history = (*history, *tokens, *_prompt(9, turn))
    parting = [(*history[: 40 + n], (history[40 + n] + 1) % 512, *history[41 + n :]) for n in (0, 3, 8)]
    replies = _ask(engine, [_request(prompt, 13, "c") for prompt in parting])
    for (tokens, end), prompt in zip(replies, parting, strict=True):
        _check(tokens, model.oracle, prompt)
        assert end.cached_tokens >= 40
    asyncio.run(engine.close())


def test_a_graph_computes_what_its_operations_do(model: Model):
    recorded, plain = (_engine(model.loaded, 8, seconds=seconds) for seconds in (60.0, 0.0))
    prompts = [_prompt(length, length) for length in (5, 90, 300, 500)]
    one, other = (_ask(engine, [_request(p, MOST) for p in prompts]) for engine in (recorded, plain))
    assert [tokens for tokens, _ in one] == [tokens for tokens, _ in other]
    for engine in (recorded, plain):
        asyncio.run(engine.close())


def test_fused_operations_say_the_same(model: Model):
    engine = _engine(model.loaded, 8, fuse=True)
    prompts = [_prompt(length, length) for length in (5, 90, 300, 500)]
    replies = _ask(engine, [_request(p, MOST) for p in prompts])
    parted = [_check(tokens, model.oracle, p) for (tokens, _), p in zip(replies, prompts, strict=True)]
    assert sum(parted) <= 1
    asyncio.run(engine.close())
    model.loaded.model.unfuse()


def test_in_bf16_these_families_run_on_the_slim_decoder(model: Model, tmp_path: Path):
    model.oracle.save_pretrained(tmp_path)
    random_model.write_tokenizer(tmp_path, 512)
    loaded = _load(tmp_path, "bf16")
    assert isinstance(loaded.model, Decoder)
    assert (loaded.model.dtype, loaded.model.device.type) == (torch.bfloat16, "cuda")


def test_many_replies_that_draw_are_whole_and_their_memory_comes_back(model: Model):
    engine = _engine(model.loaded, 64)
    params = SamplingParams(0.8, 0.95, 40, 0.0, 1.1, 0.0, 0.0, 7, 40, logprobs=0)
    replies = _ask(engine, [EngineRequest(_prompt(1 + n % 50, n), params) for n in range(200)])
    assert all(end.completion_tokens == 40 for _, end in replies)
    assert engine._steps._runner._cache.sequences == 0
    asyncio.run(engine.close())
