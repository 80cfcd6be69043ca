"""Half floats are converted exactly."""

from __future__ import annotations

import numpy as np

from services.memory.half_floats import singles


def test_every_finite_half_float_is_the_same_number_in_single_precision():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    expected = halves.astype(np.float32)
    assert np.array_equal(singles(halves).view(np.uint32), expected.view(np.uint32))
    assert np.array_equal(singles(halves[:2000].reshape(2, 1000)).ravel(), expected[:2000])
