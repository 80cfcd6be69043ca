"""The compiled decode step, held against the decoder it replaces, on the same weights in fp32."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import pytest
import torch
from llvmlite import binding
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from services.inference.engine.block_forms import GROUP
from services.inference.engine.block_model import BlockModel
from services.inference.engine.compiled_decoder import CompiledDecoder, Span, can_compile
from services.inference.engine.decoder import Decoder
from services.inference.engine.decoder_config import read_config
from services.inference.engine.decoder_weights import DecoderLinears, LayerLinears
from services.inference.engine.kernels.attention_shape import TILE
from services.inference.engine.kernels.linear_kernel import PART_BITS
from services.inference.engine.kernels.linear_rounding import OUTLYING
from services.inference.engine.key_balance import balancing_factors
from services.inference.engine.kv_buffer import BufferShape, KVBuffer
from services.inference.engine.weight_loading import read_blocks, read_linears
from tests.support.held_weights import HeldWeights
from tests.support.rounded_weights import rounded_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.inference.engine.block_forms import Form
    from services.inference.engine.decoder_config import DecoderConfig
    from services.inference.engine.linear import Linear

VOCABULARY = 203
CONTEXT = 192
SLIDING_AND_FULL = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES: dict[str, dict[str, object]] = {
    "llama": {"tie_word_embeddings": False},
    "qwen2": {},
    "qwen3": {},
    "gemma2": {**SLIDING_AND_FULL, "query_pre_attn_scalar": 32},
    "gemma3_text": {**SLIDING_AND_FULL, "query_pre_attn_scalar": 24},
}
EQUAL = 2e-5
"""As a share of the greatest logit, what sums in another order may differ by."""
TOKENS = [5, 17, 3, 3, 88, 202, 41, 0, 9, 77, 150, 6, 5, 17]
MANY_TOKENS = [(7 * n * n + 3 * n) % VOCABULARY for n in range(2 * TILE + 30)]


@dataclass(slots=True)
class Made:
    """A tiny model, its linears rounded to blocks: once as blocks, once as what those stand for."""

    config: DecoderConfig
    weights: HeldWeights
    oracle: Decoder
    form: Form

    def compiled(self, *, threads: int = 2, features: str | None = None) -> CompiledDecoder:
        rounded = 8 if self.form == "Q8_0" else 4
        model = BlockModel(self.config, *read_blocks(self.weights, self.config, torch.float32, rounded))
        return CompiledDecoder(model, threads=threads, context_tokens=CONTEXT, features=features)


@dataclass(slots=True)
class PlainAttention:
    """Attention of one sequence, a token at a time, as a textbook has it; all that is multiplied rounded to bytes."""

    config: DecoderConfig
    kept: dict[int, list[torch.Tensor]] = field(default_factory=dict)

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        config = self.config
        queries, keys, values = qkv[0].split([config.heads, config.kv_heads, config.kv_heads])
        kept = self.kept.setdefault(layer, [])
        kept.append(torch.cat([_in_bytes(keys, GROUP), _in_bytes(values, config.head_size)]))
        first = max(0, len(kept) - (config.windows[layer] or CONTEXT))
        first -= first % TILE  # tokens that share a scale are counted from the sequence's first
        keys, values = torch.stack(kept[first:], dim=1).split(config.kv_heads)
        shared = config.heads // config.kv_heads
        keys, values = keys.repeat_interleave(shared, dim=0), values.repeat_interleave(shared, dim=0)
        # Softmax is by powers of two: what makes them of it is in the queries, unless the scores are capped first.
        base = config.attention_scale * (1 if config.attention_cap is not None else math.log2(math.e))
        scores = torch.einsum("hd,hld->hl", _in_bytes(queries * base, GROUP), keys)
        if config.attention_cap is not None:
            scores = torch.tanh(scores / config.attention_cap) * config.attention_cap * math.log2(math.e)
        scores[:, : max(0, len(kept) - (config.windows[layer] or CONTEXT)) - first] = -math.inf
        powers = torch.exp2(scores - scores.amax(dim=-1, keepdim=True))
        scales = values.abs().amax(dim=-1).clamp_min(1e-30) / 127
        weights = torch.nn.functional.pad(powers * scales, (0, -powers.shape[1] % TILE))
        weights = _in_bytes(weights, TILE, 255)[:, : powers.shape[1]] / scales
        return (torch.einsum("hl,hld->hd", weights, values) / powers.sum(dim=-1, keepdim=True)).reshape(1, -1)


def _in_bytes(values: torch.Tensor, group: int, most: int = 127) -> torch.Tensor:
    """Returns numbers as they are once so many that follow one another were rounded with one scale."""
    groups = values.unflatten(-1, (-1, group))
    largest = groups.abs().amax(dim=-1, keepdim=True).clamp_min(1e-30)
    return (_rounded(groups, most / largest) * (largest * (1 / most))).flatten(-2)


def _rounded(values: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Returns the whole numbers nearest to products that are not rounded before: how often they differ hangs on it."""
    return (values.double() * factors.double()).round().to(values.dtype)


ALL = [
    *((name, form) for name in FAMILIES for form in ("Q4_1", "Q6_K", "Q8_0")),
    *(("llama", form) for form in ("Q4_0", "Q5_0", "Q5_1")),
]
SOME = [("llama", "Q8_0"), ("llama", "Q5_0"), ("gemma3_text", "Q4_1"), ("qwen2", "Q6_K")]


class RoundingLinear:
    """A linear whose inputs are rounded first as the compiled step rounds them."""

    def __init__(self, linear: Linear) -> None:
        self._linear = linear

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        groups = values.unflatten(-1, (-1, GROUP))
        squares = groups.square()
        stands_out = squares > OUTLYING * squares.mean(dim=-1, keepdim=True)
        largest = groups.abs().masked_fill(stands_out, 0).amax(dim=-1, keepdim=True)
        least = squares.sum(dim=-1, keepdim=True).sqrt() / (127 << PART_BITS)
        steps = torch.maximum(largest * (1 / 127), least).clamp_min(1e-30)
        return self._linear((_rounded(groups, 1 / steps) * steps).flatten(-2))


class BalancedLinear:
    """A linear for queries, keys and values, shared out as `key_balance` has it: what is rounded hangs on it."""

    def __init__(self, linear: Linear, config: DecoderConfig, parts: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        weights, biases = zip(*parts, strict=True)
        self._linear = linear
        self._factors = balancing_factors(config, list(weights), torch.cat(biases))

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return self._linear(values) * self._factors


def _oracle(held: HeldWeights, config: DecoderConfig) -> Decoder:
    weights, linears = read_linears(held, config, torch.float32)
    layers = [
        LayerLinears(*(RoundingLinear(getattr(layer, part.name)) for part in fields(layer))) for layer in linears.layers
    ]
    if "model.layers.0.self_attn.k_proj.bias" in held.names:
        for number, layer in enumerate(layers):
            names = [f"model.layers.{number}.self_attn.{part}_proj" for part in "qkv"]
            parts = [tuple(held.take(f"{name}.{one}", torch.float32) for one in ("weight", "bias")) for name in names]
            layers[number] = replace(layer, qkv=BalancedLinear(layer.qkv, config, parts))
    return Decoder(config, weights, DecoderLinears(tuple(layers), RoundingLinear(linears.head)))


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest) -> Made:
    name, form = request.param
    return _make(name, form)


def _make(
    name: str,
    form: Form,
    *,
    heads: int = 4,
    kv_heads: int = 2,
    head_size: int = 32,
    vocabulary: int = VOCABULARY,
) -> Made:
    config = CONFIG_MAPPING[name](
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_size,
        max_position_embeddings=CONTEXT,
        pad_token_id=0,
        **FAMILIES[name],
    )
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter_name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        # One number stands out, as in trained models.
        if "layernorm" in parameter_name:
            parameter.data[5] = 30.0
        if parameter_name.endswith("k_proj.bias"):
            parameter.data[7] = 60.0
    head_blocks = rounded_to("Q6_K" if form == "Q6_K" else "Q8_0", model.lm_head.weight.data)
    head = head_blocks.dequantized()
    own = {"model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight": head_blocks}
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("_proj.weight"):
            own[parameter_name] = rounded_to(form, parameter.data)
            parameter.data = own[parameter_name].dequantized()
    model.lm_head.weight.data = head
    if config.tie_word_embeddings:
        model.model.embed_tokens.weight.data = head
    weights = HeldWeights(dict(model.named_parameters()), own)
    read = read_config(config)
    assert read is not None
    assert can_compile(read)
    return Made(read, weights, _oracle(weights, read), form)


@dataclass(slots=True)
class Sequences:
    """Sequences under way."""

    config: DecoderConfig
    count: int
    buffers: list[KVBuffer] = field(init=False)
    lengths: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.buffers = [KVBuffer(BufferShape.of(self.config), CONTEXT) for _ in range(self.count)]
        self.lengths = [0] * self.count

    def span(self, number: int, begin: int, end: int) -> Span:
        return Span(self.buffers[number].layers, self.buffers[number].head_bytes, begin, end)

    def feed(self, decoder: CompiledDecoder, tokens: dict[int, int]) -> dict[int, torch.Tensor]:
        spans = [self.span(n, self.lengths[n], self.lengths[n] + 1) for n in tokens]
        logits = decoder.forward(list(tokens.values()), spans, list(range(len(spans)))).clone()
        for number in tokens:
            self.lengths[number] += 1
        return dict(zip(tokens, logits, strict=True))


@pytest.fixture(scope="module")
def compiled(made: Made) -> Iterator[Callable[..., CompiledDecoder]]:
    """Decoders of the model, each compiled once."""
    decoders: dict[tuple[int, str | None], CompiledDecoder] = {}

    def get(threads: int = 2, features: str | None = None) -> CompiledDecoder:
        key = (threads, features)
        if key not in decoders:
            decoders[key] = made.compiled(threads=threads, features=features)
        return decoders[key]

    yield get
    for decoder in decoders.values():
        decoder.close()


def _difference(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """Returns the greatest difference of two rows of logits, as a share of the greatest one."""
    return float((got - wanted).abs().max() / wanted.abs().max())


def _assert_nearly_all_equal(differences: list[float]) -> None:
    # The last bit of a sum can decide how an input is rounded: from then on the difference is one step of that input,
    # to the end of the sequence.
    differences = sorted(differences)
    assert differences[len(differences) // 2] < EQUAL
    assert differences[9 * len(differences) // 10] < 0.01
    assert differences[-1] < 0.1


@pytest.mark.parametrize("made", ALL, indirect=True, scope="module", ids=str)
def test_it_computes_what_the_decoder_computes(made: Made, compiled: Callable[..., CompiledDecoder]):
    decoder = compiled()

    def differences(tokens: list[int]) -> list[float]:
        sequences, attention = Sequences(made.config, 1), PlainAttention(made.config)
        seen = []
        for position, token in enumerate(tokens):
            got = sequences.feed(decoder, {0: token})[0]
            place = torch.tensor([position])
            wanted = made.oracle.forward(torch.tensor([token]), place, attention, torch.tensor([0]))[0]
            seen.append(_difference(got, wanted))
        return seen

    # One token in a dozen has an input that the last bit of a sum decides on. A step of it is seen for some tokens, and
    # in one sequence of ten to its end.
    short = [max(differences(MANY_TOKENS[begin : begin + 3])) for begin in range(0, 144, 6)]
    assert sum(most < EQUAL for most in short) >= len(short) / 2
    long = [one for add in range(3) for one in differences([(token + add) % VOCABULARY for token in MANY_TOKENS])]
    assert sum(one < EQUAL for one in long) >= len(long) / 4
    assert sum(one < 0.03 for one in long) >= 0.9 * len(long)


@pytest.mark.parametrize("made", ALL, indirect=True, scope="module", ids=str)
def test_whoever_shares_the_step_changes_not_a_bit(made: Made, compiled: Callable[..., CompiledDecoder]):
    decoder = compiled()
    alone, together = Sequences(made.config, 1), Sequences(made.config, 23)
    for step, token in enumerate(TOKENS):
        wanted = alone.feed(decoder, {0: token})[0]
        others = {n: (token + n) % VOCABULARY for n in range(1 + (7 * step) % 23)}
        others.pop(5, None)
        assert torch.equal(together.feed(decoder, {**others, 5: token})[5], wanted)


@pytest.mark.parametrize("made", ALL, indirect=True, scope="module", ids=str)
def test_a_prompt_in_one_step_is_as_token_by_token(made: Made, compiled: Callable[..., CompiledDecoder]):
    decoder = compiled()
    one = Sequences(made.config, 1)
    wanted = [one.feed(decoder, {0: token})[0] for token in MANY_TOKENS]
    for cut, early in ((64, []), (65, [0]), (101, [40, 3, 100])):
        whole = Sequences(made.config, 3)
        got = decoder.forward(MANY_TOKENS[:cut], [whole.span(1, 0, cut)], early)
        assert torch.equal(got, torch.stack(wanted)[early])
        spans = [whole.span(0, 0, 1), whole.span(1, cut, len(MANY_TOKENS)), whole.span(2, 0, 1)]
        asked = [1, len(MANY_TOKENS) - cut]
        got = decoder.forward([8, *MANY_TOKENS[cut:], 9], spans, asked)
        assert torch.equal(got[0], wanted[cut])
        assert torch.equal(got[1], wanted[-1])


def test_rows_of_logits_that_lie_apart_are_what_each_is_alone():
    # 14 cache lines of logits: rows are 15 apart.
    made = _make("llama", "Q8_0", vocabulary=219)
    decoder = made.compiled()
    one, whole = Sequences(made.config, 1), Sequences(made.config, 1)
    wanted = [one.feed(decoder, {0: token})[0] for token in TOKENS]
    got = decoder.forward(TOKENS, [whole.span(0, 0, len(TOKENS))], list(range(len(TOKENS))))
    assert torch.equal(got, torch.stack(wanted))
    decoder.close()


@pytest.mark.parametrize(("heads", "head_size"), [(1, 32), (5, 32), (7, 64), (13, 32), (4, 96), (1, 256), (1, 288)])
def test_any_number_of_heads_of_any_size_may_share_keys_and_values(heads: int, head_size: int):
    made = _make("qwen2", "Q8_0", heads=heads, kv_heads=1, head_size=head_size)
    decoder = made.compiled()
    differences = []
    for begin in range(0, 150, 5):
        # Few tokens: with many heads there are many inputs that a last bit can decide on.
        tokens = MANY_TOKENS[begin : begin + 5]
        sequences, attention = Sequences(made.config, 2), PlainAttention(made.config)
        for position, token in enumerate(tokens):
            got = sequences.feed(decoder, {0: token})[0]
            place = torch.tensor([position])
            wanted = made.oracle.forward(torch.tensor([token]), place, attention, torch.tensor([0]))[0]
            differences.append(_difference(got, wanted))
        assert torch.equal(decoder.forward(tokens, [sequences.span(1, 0, 5)], [4])[0], got)
    decoder.close()
    _assert_nearly_all_equal(differences)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("made", SOME, indirect=True, scope="module", ids=str)
def test_however_many_threads_share_the_work_it_is_the_same(
    made: Made, compiled: Callable[..., CompiledDecoder], threads: int
):
    two, other = compiled(), compiled(threads=threads)
    one, another = Sequences(made.config, 30), Sequences(made.config, 30)
    for count, token in zip((3, 30, 9, 8), TOKENS, strict=False):
        tokens = {n: (token + n) % VOCABULARY for n in range(count)}
        wanted, got = one.feed(two, tokens), another.feed(other, tokens)
        assert all(torch.equal(got[n], wanted[n]) for n in tokens)


@pytest.mark.skipif("x86_64" not in binding.get_default_triple(), reason="names features of x86-64")
@pytest.mark.parametrize("made", SOME, indirect=True, scope="module", ids=str)
@pytest.mark.parametrize("features", ["+avxvnni,+avx2,+fma,+f16c", "+avx2,+fma,+f16c", "+sse2"])
def test_older_processors_compute_the_same(made: Made, compiled: Callable[..., CompiledDecoder], features: str):
    missing = [name for name in features.replace("+", "").split(",") if not binding.get_host_cpu_features().get(name)]
    if missing:
        pytest.skip(f"this processor lacks {missing[0]}")
    own, older = compiled(), compiled(features=features)
    one, another = Sequences(made.config, 9), Sequences(made.config, 9)
    differences = []
    for token in TOKENS[:4]:
        tokens = {n: (token + n) % VOCABULARY for n in range(9)}
        wanted, got = one.feed(own, tokens), another.feed(older, tokens)
        # Not every processor rounds a product and a sum once.
        differences += [_difference(got[number], wanted[number]) for number in tokens]
    _assert_nearly_all_equal(differences)


def test_it_can_be_closed_twice():
    decoder = _make("llama", "Q8_0").compiled()
    decoder.close()
    decoder.close()


@pytest.mark.parametrize("made", SOME[:1], indirect=True, scope="module", ids=str)
def test_idle_threads_sleep_and_wake_again(made: Made, compiled: Callable[..., CompiledDecoder]):
    decoder = compiled(threads=4)
    before = Sequences(made.config, 1).feed(decoder, {0: TOKENS[0]})[0]
    for _ in range(200):
        while not all(decoder.asleep):
            pass
        assert torch.equal(Sequences(made.config, 1).feed(decoder, {0: TOKENS[0]})[0], before)
