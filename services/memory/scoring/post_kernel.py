"""Makes postings of messages' terms: see `LexicalIndex`."""

from __future__ import annotations

from typing import Any

from services.kernels.emitter import F32, I8, I32, I64, int64
from services.memory.scoring.scoring_function import ScoringFunction
from services.memory.scoring.tables import PostedField
from services.memory.scoring.word_kernel import COUNT_BITS, PLACE_BITS
from services.memory.terms import RECORD

_COUNT_OFFSET = 4
"""Bytes of a record's term, after which it says how often that stands."""


def write_post(module: Any) -> None:
    """Adds the function `post`: `(table of PostedFields)`."""
    function = ScoringFunction(module, "post", (PostedField,))
    emitter, build = function.emitter, function.build
    records, first = function.address(PostedField.RECORDS), function.number(PostedField.FIRST)
    with emitter.loop(int64(0), function.number(PostedField.COUNT), [int64(0)]) as message:
        (begin,) = message.carried
        end = build.add(begin, function.integer(PostedField.RECORD_COUNTS, message.index))
        place = build.shl(build.add(first, message.index), int64(COUNT_BITS))
        with emitter.loop(begin, end, [int64(0)]) as record:
            at = build.mul(record.index, int64(RECORD.itemsize))
            term = build.zext(emitter.load(I32, records, at), I64)
            times = build.zext(emitter.load(I8, records, build.add(at, int64(_COUNT_OFFSET))), I64)
            posting = build.or_(build.shl(term, int64(PLACE_BITS + COUNT_BITS)), build.or_(place, times))
            function.put(posting, PostedField.POSTINGS, record.index)
            record.next = [build.add(record.carried[0], times)]
        function.put(build.sitofp(record.carried[0], F32), PostedField.LENGTHS, message.index)
        message.next = [end]
    function.finish()
