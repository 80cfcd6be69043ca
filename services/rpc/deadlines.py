"""Deadlines. gRPC for Python does not pass a caller's deadline on; these functions do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.rpc.errors import DeadlineExceeded

if TYPE_CHECKING:
    from services.rpc.interceptor import Context

MARGIN_SECONDS = 0.05
"""Kept back at each hop, so that the inner call ends first and its answer can still be passed on."""

MARGIN_SHARE = 0.01
"""Kept back too: gRPC rounds deadlines up on the wire, by up to a hundredth (30 s arrive as 30.1 s)."""


def time_left(context: Context, most: float | None = None) -> float | None:
    """Returns the seconds that a call to the next service may take.

    Args:
        context: The call being served.
        most: Upper bound in seconds, where the next call has one of its own.

    Returns:
        The caller's remaining time less a margin, at most `most`; None where neither sets a bound.

    Raises:
        DeadlineExceeded: No time is left.
    """
    # None where the caller set no deadline; the type stubs do not say so.
    remaining: float | None = context.time_remaining()
    if remaining is None:
        return most
    budget = remaining * (1 - MARGIN_SHARE) - MARGIN_SECONDS
    if budget <= 0:
        raise DeadlineExceeded("The caller's deadline has passed.")
    return budget if most is None else min(budget, most)
