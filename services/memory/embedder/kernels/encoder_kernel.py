"""All layers of a BERT encoder (https://arxiv.org/abs/1810.04805), over the tokens of several texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.kernels.emitter import ADDRESS, I64, Emitter, float32, int64
from services.memory.embedder.kernels.attention_kernel import AttentionShape, write_attention
from services.memory.embedder.kernels.encoder_tables import EncoderField, LayerField
from services.memory.embedder.kernels.layer_norm import write_layer_norm
from services.memory.embedder.kernels.products import ReadyRows

if TYPE_CHECKING:
    from services.kernels.emitter import Value
    from services.kernels.processor import Processor
    from services.memory.embedder.kernels.products import Products


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """What is fixed for a model. `hidden` and `intermediate` are multiples of 128, heads of 16 numbers."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    epsilon: float

    @property
    def widest(self) -> int:
        """The most outputs of a linear."""
        return max(3 * self.hidden, self.intermediate)


def write_encoder(module: Any, shape: EncoderShape, processor: Processor, products: Products) -> None:
    """Adds the function `encode`: `(table of EncoderFields)`."""
    _EncoderWriter(module, shape, processor, products).write()


class _EncoderWriter:
    def __init__(self, module: Any, shape: EncoderShape, processor: Processor, products: Products) -> None:
        self._shape = shape
        self._products = products
        self._norm = write_layer_norm(module)
        heads = AttentionShape(shape.heads, shape.hidden // shape.heads)
        self._attention = write_attention(module, heads, processor)
        self._emitter = emitter = Emitter(module, "encode", [ADDRESS])
        (table,) = emitter.arguments
        self._tokens, self._texts = (
            emitter.load(I64, table, 8 * field) for field in (EncoderField.TOKENS, EncoderField.TEXTS)
        )
        self._places = {field: emitter.load_address(table, 8 * field) for field in EncoderField}
        self._ready = ReadyRows(
            self._places[EncoderField.VALUES], self._places[EncoderField.OWN], self._places[EncoderField.SCRATCH]
        )

    def write(self) -> None:
        emitter, shape, places = self._emitter, self._shape, self._places
        build = emitter.build
        hidden, wide, narrow = (places[f] for f in (EncoderField.HIDDEN, EncoderField.WIDE, EncoderField.NARROW))
        opening = places[EncoderField.OPENING_WEIGHT], places[EncoderField.OPENING_BIAS]
        self._norm_rows(narrow, opening)
        with emitter.loop(int64(0), int64(shape.layers)) as layer:
            fields = emitter.at(places[EncoderField.LAYERS], build.mul(layer.index, int64(8 * len(LayerField))))
            of_layer = {field: emitter.load_address(fields, 8 * field) for field in LayerField}
            self._linear(of_layer[LayerField.QKV], hidden, wide, (shape.hidden, 3 * shape.hidden))
            self._attend(wide, narrow)
            self._linear(of_layer[LayerField.ATTENTION_OUT], narrow, wide, (shape.hidden, shape.hidden))
            self._norm_rows(
                wide, (of_layer[LayerField.AFTER_ATTENTION_WEIGHT], of_layer[LayerField.AFTER_ATTENTION_BIAS])
            )
            self._linear(of_layer[LayerField.GROW], hidden, wide, (shape.hidden, shape.intermediate))
            self._linear(of_layer[LayerField.SHRINK], wide, narrow, (shape.intermediate, shape.hidden), gelu=True)
            self._norm_rows(narrow, (of_layer[LayerField.AFTER_WEIGHT], of_layer[LayerField.AFTER_BIAS]))
        emitter.finish()

    def _linear(self, weights: Value, rows: Value, out: Value, sizes: tuple[int, int], *, gelu: bool = False) -> None:
        """Writes a linear of so many inputs and outputs, over rows that may go through GELU before."""
        emitter, (inputs, _outputs) = self._emitter, sizes
        with emitter.loop(int64(0), self._tokens) as row:
            self._products.ready(
                emitter, self._row(rows, inputs, row.index), int64(inputs), self._ready, number=row.index, gelu=gelu
            )
        self._products.linear(emitter, weights, (self._ready, self._tokens), sizes, out)

    def _attend(self, qkv: Value, out: Value) -> None:
        emitter, size = self._emitter, self._shape.hidden
        build = emitter.build
        with emitter.loop(int64(0), self._texts, [int64(0)]) as text:
            (first,) = text.carried
            count = emitter.load(I64, self._places[EncoderField.COUNTS], build.mul(text.index, int64(8)))
            of_text = self._row(qkv, 3 * size, first), self._row(out, size, first)
            room = self._places[EncoderField.KEYS], self._places[EncoderField.SCORES]
            build.call(self._attention, [*of_text, *room, count])
            text.next = [build.add(first, count)]

    def _norm_rows(self, added: Value, norm: tuple[Value, Value]) -> None:
        """Adds rows to the hidden ones, and norms these."""
        emitter, size = self._emitter, self._shape.hidden
        with emitter.loop(int64(0), self._tokens) as row:
            rows = (self._row(of, size, row.index) for of in (self._places[EncoderField.HIDDEN], added))
            emitter.build.call(self._norm, [*rows, *norm, int64(size), float32(self._shape.epsilon)])

    def _row(self, rows: Value, size: int, number: Value) -> Value:
        return self._emitter.at(rows, self._emitter.build.mul(number, int64(4 * size)))
