"""The tables by which the compiled encoder is told what to work on."""

from __future__ import annotations

from enum import auto

from services.kernels.table import Place


class EncoderField(Place):
    """Of a call."""

    TOKENS = auto()
    """Of all texts."""
    TEXTS = auto()
    COUNTS = auto()
    """Tokens of each text: 64-bit integers."""
    HIDDEN = auto()
    """Floats, shape `(tokens, hidden)`: at first their words' embeddings, at last what the layers made of them."""
    LAYERS = auto()
    """A table of `LayerField`s a layer."""
    OPENING_WEIGHT = auto()
    """Floats, of the norm before the first layer."""
    OPENING_BIAS = auto()
    WIDE = auto()
    """Room for floats, shape `(tokens + 16, the most outputs of a linear)`."""
    NARROW = auto()
    """Floats, shape `(tokens, hidden)`: at first the embeddings of their places, then room."""
    VALUES = auto()
    """Room for rows that are ready to be multiplied."""
    OWN = auto()
    """Room for what belongs to each of them."""
    SCRATCH = auto()
    """Room for one row of floats."""
    KEYS = auto()
    """Room for one head's keys of a text."""
    SCORES = auto()
    """Room for scores of four queries."""


class LayerField(Place):
    """Of a layer: linears as `Products.packed` has them, weights and biases of norms as floats."""

    QKV = auto()
    ATTENTION_OUT = auto()
    AFTER_ATTENTION_WEIGHT = auto()
    AFTER_ATTENTION_BIAS = auto()
    GROW = auto()
    SHRINK = auto()
    AFTER_WEIGHT = auto()
    AFTER_BIAS = auto()
