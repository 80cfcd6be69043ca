"""The tables by which scoring is told what to work on, by how long what they say holds.

Addresses but where a number is named. Places are 64-bit integers, floats have 32 bits where 64 are not named. Arrays of
messages are in order of places; with `+ 1`, they have one place past the last, which stands for no message.
"""

from __future__ import annotations

from enum import auto

from services.kernels.table import Place


class IndexField(Place):
    """Of an index: for every search until a message or a vector comes or goes."""

    COUNT = auto()
    """Number of messages, one at least."""
    POSTINGS = auto()
    """64-bit integers, rising: see `LexicalIndex`."""
    POSTING_COUNT = auto()
    """Number."""
    SCALES = auto()
    """Floats."""
    SCALES_TOGETHER = auto()
    BEFORE = auto()
    """Of each message + 1, what stands before it."""
    AFTER = auto()
    COUNTS = auto()
    """Floats: how many messages stand next to each."""
    COUNTS_FURTHER = auto()
    """And next but one."""
    EVERYONE = auto()
    """Bytes: 1, where all messages can be found."""
    NOBODY = auto()
    """Bytes: 0, where the query names no author."""
    FULLNESS = auto()
    """Floats: how much more than the others each message says, weighed, where nothing else holds whatever is asked."""
    EMBEDDED = auto()
    """Bytes: 1 for those that have a vector."""
    IDS = auto()
    """64-bit integers: of two that score the same, the one with the larger comes first."""
    ROWS = auto()
    """Half floats: the vectors, where they are one array."""
    ROW_COUNT = auto()
    """Number of rows; 0: similarities of what is found are not told."""
    SIZE = auto()
    """Number of half floats in a row, a multiple of `AT_ONCE`."""
    ROW_OF = auto()
    """64-bit integers: each message's row, below 0 where it has none; no address where rows are in order of places."""


class RoomField(Place):
    """Of a search: what it asks for, and room for what is computed."""

    TERM_COUNT = auto()
    """Number."""
    TERMS = auto()
    """64-bit integers."""
    SPANS = auto()
    """Room for two 64-bit integers a term: its first posting and the one past its last."""
    MARKS = auto()
    """A byte a message + 1: 0 before and after."""
    TIMES = auto()
    """A float a message + 1: 0 before and after."""
    TOUCHED = auto()
    """Room for a place a message, and one more."""
    FIT = auto()
    """Out: a float a message."""
    SHARE = auto()
    """Out: a float a message."""
    SOUGHT = auto()
    """Floats: what messages are to be similar to."""
    PRODUCTS = auto()
    """Room for a float a message."""
    SIMILARITIES = auto()
    """Floats of messages: out where rows are multiplied, in where they are not."""
    PASSES = auto()
    """Bytes of messages: 1 for those that can be found; no address: `EVERYONE`."""
    NAMED = auto()
    """Bytes of messages: 1 for those whose author the query names; no address: `NOBODY`."""
    PRIOR = auto()
    """Floats of messages; no address: `FULLNESS`."""
    WEIGHTS = auto()
    """A float for each `Weight`."""
    KNOWN = auto()
    """Room for a float a message + 1."""
    DENSE = auto()
    """Room for a float a message."""
    QUERY = auto()
    """Floats: what the similarity that is told is to."""
    LIMIT = auto()
    """Number: most that are found, at least one."""
    FOUND = auto()
    """Out: number of those found."""
    SCORES = auto()
    """Out: 64-bit floats of those found."""
    PLACES = auto()
    """Out: those found, the best first."""
    PARTS = auto()
    """Out: of each of those found a float for each `Part`."""


class PreparedField(Place):
    """Of `prepare`, beside an index's own table, whose arrays it fills in."""

    ORDER = auto()
    """64-bit integers: places, by conversation and in each by sequence."""
    CONVERSATIONS = auto()
    """32-bit integers of messages: a number for each conversation."""
    LENGTHS = auto()
    """Floats of messages: words."""
    SAID = auto()
    """Room for a 64-bit float a message, and `FEW` more."""


class PostedField(Place):
    """Of `post`, which makes postings, in order of messages."""

    RECORDS = auto()
    """`terms.RECORD`s: terms and how often they stand, of one message after another."""
    RECORD_COUNTS = auto()
    """64-bit integers: how many are each message's."""
    COUNT = auto()
    """Number of messages."""
    FIRST = auto()
    """Number: place of the first one."""
    POSTINGS = auto()
    """Out: a 64-bit integer a record."""
    LENGTHS = auto()
    """Out: a float a message: its words."""


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


class Weight(Place):
    """What `rank` weighs with."""

    USUAL = auto()
    """The similarity of a message without a vector, for those around it."""
    NEXT = auto()
    """Of the similarity of what stands next to a message."""
    NEXT_BUT_ONE = auto()
    DENSE = auto()
    WINDOW = auto()
    """Of words in a message with its neighbours as one text, where those in the message alone have 1."""
    LEXICAL = auto()
    AUTHOR = auto()
    LEAST_DEVIATION = auto()
    """Similarities that vary less are taken for equal."""
    GIVEN = auto()
    """1 where mean and deviation are given, 0 where they are those of the messages."""
    MEAN = auto()
    DEVIATION = auto()


class Part(Place):
    """What is told of a message that is found."""

    SIMILARITY = auto()
    """Of its vector to the query; 0 without a vector, and where rows are not multiplied."""
    SHARE = auto()
    DENSE = auto()
    """What meaning gives to its score."""
    LEXICAL = auto()
    """What words and the author give."""
    PRIOR = auto()
    """What holds whatever is asked."""
