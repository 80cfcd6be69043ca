"""The tables by which a compiled step is told what to work on."""

from __future__ import annotations

from enum import auto

from services.kernels.table import Place


class StepField(Place):
    """What a step works on; addresses but where a number is named. Floats have 32 bits, rows lie close together."""

    THREADS = auto()
    """Number."""
    BARRIER = auto()
    GENERATION = auto()
    """Of a 64-bit integer: how many steps have begun."""
    STATES = auto()
    """Of each thread's line: a 64-bit integer, whether it sleeps until the next step, and at `WANTED` another."""
    STOP = auto()
    """Number: other than 0 where there will be no further step."""
    PIPE_OUT = auto()
    """Number of the file that sleeping threads read from."""
    PIPE_IN = auto()
    """Number of the file that wakes them."""
    BYTE = auto()
    """Of what is read and written."""
    ROWS = auto()
    """Number of tokens."""
    POSITIONS = auto()
    """Of each token in its sequence: 64-bit integers."""
    CACHES = auto()
    """For each layer the address of each row's keys and values, heads of keys, then of values: blocks of 16 tokens, as
    `block_bytes` has them."""
    CACHE_HEAD_BYTES = auto()
    """For each row the bytes from one head of its cache to the next: 64-bit integers."""
    ALL = auto()
    """Numbers of as many rows as there may be, 0 and on: 64-bit integers."""
    RUNS = auto()
    """Rows whose attention is computed together, `rows_at_once` of one sequence that follow one another, or one: the
    first of each, 64-bit integers."""
    RUN_SIZES = auto()
    """How many rows each is: 64-bit integers."""
    RUN_COUNT = auto()
    """Number."""
    LAYERS = auto()
    """`LayerField`s of each layer."""
    WORKSPACES = auto()
    """`WorkspaceField`s of each thread."""
    HIDDEN = auto()
    """The tokens' embeddings."""
    QKV = auto()
    ATTENDED = auto()
    ATTENTION_OUT = auto()
    PAIRS = auto()
    ACTIVE = auto()
    MLP_OUT = auto()
    NORM = auto()
    HEAD = auto()
    HEAD_FORM = auto()
    """Number."""
    HEAD_BIAS = auto()
    WANTED_ROWS = auto()
    """Number of rows whose logits are asked for."""
    WANTED = auto()
    """Which they are: 64-bit integers."""
    LOGITS = auto()
    """Out: shape `(wanted rows, vocabulary)`, rows as far apart as `StepShape.logits_row` says."""


class LayerField(Place):
    """Addresses of a layer's weights; floats but where they are packed."""

    ATTENTION_NORM = auto()
    QKV = auto()
    QKV_FORM = auto()
    QKV_BIAS = auto()
    QUERY_NORM = auto()
    KEY_NORM = auto()
    OUT = auto()
    OUT_FORM = auto()
    OUT_BIAS = auto()
    AFTER_ATTENTION_NORM = auto()
    MLP_NORM = auto()
    GATE_UP = auto()
    """16 outputs of the gate alternate with 16 of what it lets through."""
    GATE_UP_FORM = auto()
    GATE_UP_BIAS = auto()
    DOWN = auto()
    DOWN_FORM = auto()
    DOWN_BIAS = auto()
    AFTER_MLP_NORM = auto()
    COSINES = auto()
    """Of each row's position, `head_size` to a row; the sines have the sign that half a turn of the head gives them."""
    SINES = auto()
    WINDOW = auto()
    """Number of tokens that are attended to."""


class WorkspaceField(Place):
    """Addresses of what one thread writes for itself."""

    HIDDEN = auto()
    """Floats, shape `(rows, hidden)`."""
    ROW = auto()
    """Floats, the largest input of a linear."""
    VALUES = auto()
    """8-bit integers, shape `(rows, largest input)`."""
    SCALES = auto()
    SUMS = auto()
    OFFSETS = auto()
    HALVES = auto()
    OUTLYING = auto()
    QUERIES = auto()
    """The rounded query heads that share a head of keys, for as many rows as are computed together."""
    SCORES = auto()
    """Floats, for each of these as many as the longest context, made a multiple of 64, and 64 more."""
