"""The tables by which scoring is told what to work on.

Addresses but where a number is named. Places are 64-bit integers, floats have 32 bits. Arrays of messages are in order
of places; with `+ 1`, they have one place past the last, which stands for no message.
"""

from __future__ import annotations

from enum import auto

from services.kernels.table import Place


class ProductField(Place):
    """Of `products`, which multiplies rows with a query."""

    ROWS = auto()
    """Half floats."""
    COUNT = auto()
    """Number of rows."""
    SIZE = auto()
    """Number of half floats in a row, a multiple of `AT_ONCE`."""
    QUERY = auto()
    """Floats."""
    OUT = auto()
    """Out: a float a row."""


class SumField(Place):
    """Of `sums`, which adds rows up."""

    ROWS = auto()
    """Half floats."""
    COUNT = auto()
    """Number of rows."""
    SIZE = auto()
    """Number of half floats in a row, a multiple of `AT_ONCE`."""
    SQUARES = auto()
    """Out: a float a row, the sum of its numbers' squares."""
    TOTALS = auto()
    """In and out: 64-bit floats, to which each row is added."""


class TouchField(Place):
    """Of `touch`, which finds what stands at or next to a message that has a term."""

    TERMS = auto()
    """Number."""
    POSTINGS = auto()
    SPANS = auto()
    """Of each term, its first posting and the one past its last."""
    BEFORE = auto()
    """Of each message + 1, what stands before it."""
    AFTER = auto()
    MARKS = auto()
    """A byte a message + 1: 0, that of no message 1."""
    TOUCHED = auto()
    """Out: places, those of one term after those of another. There is room for three for each posting, and one more."""
    ENDS = auto()
    """Out: of each term, how many places there are up to its last."""


class WeighField(Place):
    """Of `weigh`, which scores messages for the terms they have; what `touch` was given and has found is as it was."""

    TERMS = auto()
    """Number."""
    POSTINGS = auto()
    SPANS = auto()
    BEFORE = auto()
    AFTER = auto()
    TOUCHED = auto()
    ENDS = auto()
    RARITIES = auto()
    """Floats, of each term."""
    WINDOW_RARITIES = auto()
    """Floats, of each term in messages with their neighbours, weighted."""
    SCALES = auto()
    """Floats."""
    SCALES_TOGETHER = auto()
    TIMES = auto()
    """A float a message + 1: 0, before and after."""
    FIT = auto()
    """In and out: a float a message."""
    SHARE = auto()
    """In and out: a float a message."""


class RankField(Place):
    """Of `rank`, which weighs messages and finds the best."""

    COUNT = auto()
    """Number of messages."""
    SIMILARITIES = auto()
    """Floats."""
    EMBEDDED = auto()
    """Bytes: 1 for those that have a vector."""
    BEFORE = auto()
    AFTER = auto()
    COUNTS = auto()
    """Floats: how many messages stand next to each."""
    COUNTS_FURTHER = auto()
    """And next but one."""
    FIT = auto()
    """Floats."""
    NAMED = auto()
    """Bytes: 1 for those whose author the query names."""
    PRIOR = auto()
    """Floats."""
    PASSES = auto()
    """Bytes: 1 for those that can be found."""
    IDS = auto()
    """64-bit integers: of two that score the same, the one with the larger comes first."""
    WEIGHTS = auto()
    """A float for each `Weight`."""
    KNOWN = auto()
    """Room for a float a message + 1."""
    DENSE = auto()
    """Room for a float a message."""
    LIMIT = auto()
    """Number: most that are found, at least one."""
    SCORES = auto()
    """Out: 64-bit floats of those found."""
    PLACES = auto()
    """Out: those found, the best first. At first 0 for each that may be."""
    PARTS = auto()
    """Out: of each of those found three floats: what meaning, what words and the author, and what the rest gives."""
    FOUND = auto()
    """Out: an address of how many there are."""


class Weight(Place):
    """What `rank` weighs with."""

    USUAL = auto()
    """The similarity of a message without a vector, for those around it."""
    NEXT = auto()
    """Of the similarity of what stands next to a message."""
    NEXT_BUT_ONE = auto()
    DENSE = auto()
    LEXICAL = auto()
    AUTHOR = auto()
    LEAST_DEVIATION = auto()
    """Similarities that vary less are taken for equal."""
    GIVEN = auto()
    """1 where mean and deviation are given, 0 where they are those of the messages."""
    MEAN = auto()
    DEVIATION = auto()
