"""The compiled encoder, held against the library's class on the same random weights, for any processor and size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from llvmlite import binding
from tokenizers import Tokenizer, models
from transformers import BertConfig, BertModel

from services.memory.embedder.bert_encoder import BertEncoder, BertParts, Precision, fits
from services.memory.embedder.kernels.rotation import BLOCK, rotated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

VOCABULARY = 97
LONGEST = 300
WITH_AVX2 = "+sse2,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma,+f16c"
FEATURES = [None, WITH_AVX2, "+sse2"] if binding.get_default_triple().startswith("x86_64") else [None]
has_avx2 = binding.get_host_cpu_features().get("avx2", False)


def made(hidden: int = 128, intermediate: int = 256, heads: int = 4) -> tuple[BertParts, Any]:
    """Returns a tiny model as parts, and as the library has it."""
    torch.manual_seed(hidden + heads)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=LONGEST,
        initializer_range=hidden**-0.5,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    for parameter in model.parameters():
        # Biases and norms too, which are otherwise 0 and 1.
        parameter.data += 0.05 * torch.randn(parameter.shape)
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    words = weights["embeddings.word_embeddings.weight"]
    parts = BertParts(
        tokenizer=Tokenizer(models.BPE()),
        weights=weights,
        words=lambda ids: words[ids],
        normalize=str,
        dimension=hidden,
        layers=2,
        heads=heads,
        eps=config.layer_norm_eps,
        longest=LONGEST,
    )
    return parts, model


@torch.inference_mode()
def expected(model: Any, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    means = [model(torch.tensor([text])).last_hidden_state[0].mean(dim=0) for text in texts]
    return torch.nn.functional.normalize(torch.stack(means)).numpy()


def texts_of(*lengths: int) -> list[list[int]]:
    chance = np.random.default_rng(sum(lengths))
    return [chance.integers(0, VOCABULARY, length).tolist() for length in lengths]


@pytest.fixture(scope="module")
def tiny() -> tuple[BertParts, Any]:
    return made()


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("precision", Precision)
def test_it_computes_what_the_library_computes(tiny, features, precision):
    if features == WITH_AVX2 and not has_avx2:
        pytest.skip("this processor has no AVX2")
    parts, model = tiny
    encoder = BertEncoder(parts, 1, precision, features)
    texts = texts_of(1, 2, 3, 5, 15, 16, 17, 18, 31, 33, 64, 100)
    got, wanted = encoder.encode(texts), expected(model, texts)
    if precision is Precision.FLOATS:
        assert np.abs(got - wanted).max() < 2e-5
    assert ((got * wanted).sum(axis=1) > 0.998).all()


@pytest.mark.parametrize(
    ("hidden", "intermediate", "heads"), [(128, 128, 8), (384, 1536, 12), (256, 512, 4), (256, 384, 2), (256, 256, 1)]
)
def test_models_of_any_size(hidden, intermediate, heads):
    assert fits(hidden, intermediate, heads)
    parts, model = made(hidden, intermediate, heads)
    texts = texts_of(4, 21, LONGEST)
    wanted = expected(model, texts)
    assert np.abs(BertEncoder(parts, 1, Precision.FLOATS).encode(texts) - wanted).max() < 2e-5
    assert ((BertEncoder(parts, 1, Precision.BYTES).encode(texts) * wanted).sum(axis=1) > 0.998).all()


@pytest.mark.parametrize(("hidden", "intermediate", "heads"), [(312, 1200, 12), (384, 1500, 12), (384, 1536, 16)])
def test_sizes_that_it_is_not_for(hidden, intermediate, heads):
    assert not fits(hidden, intermediate, heads)


@pytest.mark.parametrize("precision", Precision)
def test_threads_that_call_at_once_get_what_each_gets_alone(tiny, precision):
    encoder = BertEncoder(tiny[0], 2, precision)
    calls = [texts_of(*[1 + (7 * call + n) % 60 for n in range(1 + 5 * (call % 4))]) for call in range(40)]
    alone = [np.concatenate([encoder.encode([text]) for text in texts]) for texts in calls]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(encoder.encode, calls))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


def test_a_missing_weight_and_one_of_another_shape_are_refused(tiny):
    parts = tiny[0]
    name = "encoder.layer.1.output.dense.weight"
    for weights in (
        {key: weight for key, weight in parts.weights.items() if key != name},
        {**parts.weights, name: parts.weights[name].T},
    ):
        broken = BertParts(**{field: getattr(parts, field) for field in BertParts.__slots__} | {"weights": weights})
        with pytest.raises((KeyError, ValueError), match=r"output\.dense\.weight"):
            BertEncoder(broken)


def test_a_rotation_keeps_products_but_for_a_factor_and_spreads_what_stands_out():
    chance = np.random.default_rng(3)
    one, other = chance.standard_normal((2, 5, 2 * BLOCK)).astype(np.float32)
    one[:, 7] = 100.0
    assert np.allclose(rotated(one) @ rotated(other).T, BLOCK * (one @ other.T), rtol=1e-4, atol=0.05)
    assert np.abs(rotated(one)).max() < 2 * np.abs(rotated(one)).mean() * np.sqrt(BLOCK)
