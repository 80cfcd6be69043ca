"""The slim decoder on tiny random-weight models of every family; transformers' greedy `generate` is the oracle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from services.inference.engine import prefill_budget
from services.inference.engine.decoder import Decoder
from services.inference.engine.decoder_config import read_config
from services.inference.engine.decoder_model import load_decoder
from services.inference.engine.loader import LoadedModel
from services.inference.engine.model_source import ModelFolder
from services.inference.engine.native import NativeEngine
from services.inference.engine.protocol import Delta, Event, Finished, ModelInfo
from services.inference.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.inference.engine.protocol import EngineRequest

    Ask = Callable[..., EngineRequest]

VOCABULARY = 64
CONTEXT = 256
LENGTHS = (1, 2, 3, 8, 9, 23, 40, 64)
SCALED = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SLIDING_AND_FULL = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 2}
FAMILIES: dict[str, dict[str, object]] = {
    "llama": {},
    "llama with scaled rope": {"rope_parameters": {**SCALED, "original_max_position_embeddings": 32}},
    "llama with biases": {"attention_bias": True, "tie_word_embeddings": True},
    "mistral": {"sliding_window": 8},
    "qwen2": {},
    "qwen3": {},
    "gemma2": {**SLIDING_AND_FULL, "query_pre_attn_scalar": 16},
    "gemma3_text": {**SLIDING_AND_FULL, "query_pre_attn_scalar": 24},
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> PreTrainedModel:
    name: str = request.param
    config = CONFIG_MAPPING[name.split(maxsplit=1)[0]](
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=CONTEXT,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
        **FAMILIES[name],
    )
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def slim(family: PreTrainedModel, loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("model")
    family.save_pretrained(folder)
    return _loaded(folder, family.config, loaded)


def _loaded(folder: Path, config: PretrainedConfig, loaded: LoadedModel) -> LoadedModel:
    read = read_config(config)
    assert read is not None
    decoder = load_decoder(ModelFolder("tiny", folder), read, "fp32", Progress())
    info = ModelInfo("tiny", "fp32", "cpu", CONTEXT, VOCABULARY, decoder.parameters, config.model_type)
    return LoadedModel(decoder, loaded.tokenizer, info, frozenset())


def _prompt(length: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed)).tolist())


def _oracle(model: PreTrainedModel, prompt: tuple[int, ...], most: int) -> list[int]:
    with torch.inference_mode():
        output = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
            max_new_tokens=most,
            do_sample=False,
        )
    return output[0, len(prompt) :].tolist()


async def _run(engine: NativeEngine, request: EngineRequest) -> list[Event]:
    return [event async for event in engine.generate(request)]


def _tokens(events: list[Event]) -> list[int]:
    return [p.token_id for e in events if isinstance(e, Delta) for p in e.logprobs]


def test_it_counts_parameters_as_transformers_does(slim: LoadedModel, family: PreTrainedModel):
    assert slim.info.parameters == family.num_parameters()


async def test_each_alone_gets_what_transformers_generates(slim: LoadedModel, family: PreTrainedModel, ask: Ask):
    engine = NativeEngine(slim, max_running=1, prefix_cache_tokens=0)
    for length in LENGTHS:
        prompt = _prompt(length, length)
        assert _tokens(await _run(engine, ask(prompt, max_tokens=20, logprobs=0))) == _oracle(family, prompt, 20)
    await engine.close()


async def test_together_and_with_prompts_read_in_pieces_each_gets_what_transformers_generates(
    slim: LoadedModel, family: PreTrainedModel, ask: Ask, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prefill_budget, "MOST_TOKENS", 5)
    engine = NativeEngine(slim, max_running=6, prefix_cache_tokens=0)
    prompts = [_prompt(length, seed) for seed in range(7) for length in LENGTHS]
    # Of different lengths, so that rows are given back in the middle of the batch.
    lengths = [5 + 7 * n % 29 for n in range(len(prompts))]
    requests = [ask(p, max_tokens=most, logprobs=0) for p, most in zip(prompts, lengths, strict=True)]
    replies = await asyncio.gather(*(_run(engine, request) for request in requests))
    expected = [_oracle(family, prompt, most) for prompt, most in zip(prompts, lengths, strict=True)]
    assert [_tokens(events) for events in replies] == expected
    assert engine._steps._runner._cache.sequences == 0
    await engine.close()


async def test_a_reused_prefix_changes_no_token(slim: LoadedModel, family: PreTrainedModel, ask: Ask):
    engine = NativeEngine(slim, max_running=3, prefix_cache_tokens=1000)
    history, computed = _prompt(30, 1), 0
    for turn in range(4):
        events = await _run(engine, ask(history, max_tokens=12, logprobs=0, cache_key="c"))
        assert _tokens(events) == _oracle(family, history, 12)
        last = events[-1]
        assert isinstance(last, Finished)
        assert last.cached_tokens == computed
        # All but the last token of a reply has been computed when it ends.
        computed = len(history) + 11
        history = (*history, *_tokens(events), *_prompt(9, 100 + turn))
    parting = (*history[:17], (history[17] + 1) % VOCABULARY, *history[18:])
    requests = [ask(parting, max_tokens=12, logprobs=0, cache_key="c") for _ in range(3)]
    for events in await asyncio.gather(*(_run(engine, request) for request in requests)):
        assert _tokens(events) == _oracle(family, parting, 12)
        assert isinstance(events[-1], Finished)
        assert events[-1].cached_tokens == 17
    await engine.close()


@pytest.mark.parametrize(
    "changed", [{"hidden_act": "relu"}, {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}]
)
def test_what_the_decoder_does_not_know_is_left_to_transformers(changed: dict[str, object]):
    assert read_config(CONFIG_MAPPING["llama"](**changed)) is None


def test_an_unknown_family_is_left_to_transformers():
    assert read_config(CONFIG_MAPPING["gpt2"]()) is None


def test_the_embedded_model_runs_on_the_slim_decoder(loaded: LoadedModel):
    assert isinstance(loaded.model, Decoder)
