"""What passes between the memory service and its embedder's process arrives as it was sent, however it is cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from services.memory.embedder.async_embedder import Kind
from services.memory.embedder_process.frames import Frame, FrameReader
from services.memory.embedder_process.order import Request

_NUMBERS = of_numpy.arrays(np.float32, st.integers(0, 12), elements=st.floats(-1, 1, width=32))
# Surrogates too: no client can send one, but what takes texts apart for an embedder may leave one.
_TEXTS = st.lists(st.text(st.characters(exclude_categories=())), max_size=3)


@given(st.lists(st.tuples(_TEXTS, _NUMBERS), max_size=4), st.lists(st.integers(1, 40)))
def test_frames_arrive_whole_and_in_order(said, cuts):
    sent = [Frame({"texts": texts}, numbers) for texts, numbers in said]
    left, reader, read = b"".join(frame.to_bytes() for frame in sent), FrameReader(), []
    for size in [*cuts, len(left)]:
        read += reader.feed(left[:size])
        left = left[size:]
    assert [frame.facts for frame in read] == [frame.facts for frame in sent]
    assert all(np.array_equal(a.numbers, b.numbers) for a, b in zip(read, sent, strict=True))


@given(_TEXTS, st.booleans(), st.sampled_from(Kind))
def test_a_request_is_read_as_it_was_asked(texts, counted, kind):
    request = Request(7, kind, texts, counted)
    (frame,) = FrameReader().feed(request.to_frame().to_bytes())
    assert Request.of(frame) == request
