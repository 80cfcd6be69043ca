"""The real embedded model, loaded once for all tests that need one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.inference.engine.protocol import EngineRequest, SamplingParams
from services.inference.settings import InferenceSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import torch
    from transformers import PreTrainedModel

    from services.inference.engine.drawing import Draw
    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.native import NativeEngine


@dataclass(frozen=True)
class Tiny:
    """A model as the engine holds it, and as transformers does."""

    loaded: LoadedModel
    oracle: PreTrainedModel


@dataclass(frozen=True)
class Reference:
    """What transformers' greedy `generate` says after a prompt, in fp32."""

    prompt: tuple[int, ...]
    tokens: list[int]
    logits: torch.Tensor
    """Of shape `(len(tokens), vocabulary)`."""


class Agreement:
    """Compares replies with their references, token for token.

    A reply may part from its reference where the two tokens are a near tie: where the reference's own logits of them
    differ by less than fp32 noise. That is counted, and is to be asserted.
    """

    near_tie = 1e-4

    def __init__(self) -> None:
        self.compared = 0
        self.near_ties = 0

    def check(self, tokens: list[int], reference: Reference) -> None:
        self.compared += 1
        if tokens == reference.tokens:
            return
        pairs = enumerate(zip(tokens, reference.tokens, strict=False))
        parting = next((n for n, (token, expected) in pairs if token != expected), None)
        assert parting is not None, f"{len(tokens)} tokens, not {len(reference.tokens)}"
        logits = reference.logits[parting]
        margin = float(logits[reference.tokens[parting]] - logits[tokens[parting]])
        assert margin < self.near_tie, f"token {parting} is another, by {margin} of a logit"
        self.near_ties += 1


@pytest.fixture
def agreement() -> Agreement:
    return Agreement()


@pytest.fixture(scope="session")
def refer() -> Callable[..., Reference]:
    """Asks a model of transformers."""
    import torch

    def generate(model: PreTrainedModel, prompt: tuple[int, ...], most: int) -> Reference:
        with torch.inference_mode():
            output = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
                max_new_tokens=most,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
        return Reference(prompt, output.sequences[0, len(prompt) :].tolist(), torch.cat(output.logits))

    return generate


@pytest.fixture(scope="session")
def settings(request: pytest.FixtureRequest) -> InferenceSettings:
    # Kept between runs, as a user's own data folder is: only the first run converts the model.
    data_dir = Path(request.config.cache.mkdir("inference-models"))
    return InferenceSettings(data_dir=data_dir, weights="fp32", device="cpu", model="embedded")


@pytest.fixture(scope="session")
def loaded(settings: InferenceSettings) -> LoadedModel:
    from services.inference.engine.loader import load_model
    from services.inference.engine.model_source import locate
    from services.inference.progress import Progress

    progress = Progress()
    return load_model(settings, locate(settings.model, settings.data_dir, progress), progress)


@pytest.fixture(scope="session")
def embedded_oracle(settings: InferenceSettings) -> PreTrainedModel:
    """The embedded model as transformers runs it."""
    from services.inference.engine.model_source import locate
    from services.inference.engine.transformers_model import load_transformers_model
    from services.inference.progress import Progress

    folder = locate(settings.model, settings.data_dir, Progress())
    return load_transformers_model(folder, "fp32", "cpu", prequantized=False, int8_threshold=0.0)


@pytest.fixture(scope="session")
def greedy(
    embedded_oracle: PreTrainedModel, refer: Callable[..., Reference]
) -> Callable[[tuple[int, ...], int], list[int]]:
    """What transformers' own `generate` says after a prompt, with the same weights."""
    return lambda prompt, most: refer(embedded_oracle, prompt, most).tokens


@pytest.fixture(scope="session")
def make_tiny(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tiny]:
    """Makes tiny models with random weights; ids of tokens are below 64, and none ends a reply.

    Weights are `fp32`, which the slim decoder runs, or those of the compiled step: `int8` or `int4`.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    from services.inference.engine.decoder_config import read_config
    from services.inference.engine.decoder_model import load_block_model, load_decoder
    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.model_source import ModelFolder
    from services.inference.engine.protocol import ModelInfo
    from services.inference.progress import Progress

    def make(family: str, weights: str = "fp32", **changed: object) -> Tiny:
        plain: dict[str, object] = {
            "vocab_size": 64,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 256,
            "eos_token_id": None,
            "bos_token_id": None,
            "pad_token_id": 0,
        }
        config = CONFIG_MAPPING[family](**{**plain, **changed})
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        folder = tmp_path_factory.mktemp("tiny")
        model.save_pretrained(folder)
        read = read_config(config)
        assert read is not None
        load = load_decoder if weights == "fp32" else load_block_model
        held = load(ModelFolder("tiny", folder), read, weights, Progress())
        context = config.max_position_embeddings
        info = ModelInfo("tiny", weights, "cpu", context, 64, held.parameters, config.model_type)
        return Tiny(LoadedModel(held, loaded.tokenizer, info, frozenset()), model)

    return make


@pytest.fixture(scope="session")
def tiny(make_tiny: Callable[..., Tiny]) -> LoadedModel:
    return make_tiny("llama").loaded


@pytest.fixture
async def engine(loaded: LoadedModel) -> AsyncIterator[NativeEngine]:
    from services.inference.engine.native import NativeEngine

    engine = NativeEngine(loaded, max_running=4, prefix_cache_tokens=4096)
    yield engine
    await engine.close()


@pytest.fixture
def params() -> Callable[..., SamplingParams]:
    """Greedy unless told otherwise."""

    def make(**changed: object) -> SamplingParams:
        plain: dict[str, object] = {
            "temperature": 0.0,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
            "seed": 1,
            "max_tokens": 24,
        }
        return SamplingParams(**{**plain, **changed})

    return make


@pytest.fixture(scope="session", params=["torch", "compiled code"])
def draw(request: pytest.FixtureRequest) -> Draw:
    """Both ways to draw tokens."""
    from services.inference.engine.compiled_draw import CompiledDraw
    from services.inference.engine.drawing import draw

    return draw if request.param == "torch" else CompiledDraw()


@pytest.fixture
def ask(params: Callable[..., SamplingParams]) -> Callable[..., EngineRequest]:
    def make(
        prompt: tuple[int, ...],
        *,
        cache_key: str = "",
        system_key: str = "",
        system_tokens: int = 0,
        deadline: float | None = None,
        json_schema: str | None = None,
        **sampling: object,
    ):
        return EngineRequest(
            prompt, params(**sampling), cache_key, system_key, system_tokens, deadline=deadline, json_schema=json_schema
        )

    return make
