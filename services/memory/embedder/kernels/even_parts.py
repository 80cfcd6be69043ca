"""Splits rows into parts that are computed at once, as even as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kernels.emitter import int64

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.kernels.emitter import Emitter, Value


def write_even_parts(emitter: Emitter, count: Value, most: int, write: Callable[[int, Value], None]) -> None:
    """Writes what is done with each part: of 13 rows, at most 8 at once, with 7 and with 6.

    Args:
        emitter: The function that is written.
        count: Of rows, at least one.
        most: Rows in a part.
        write: Writes what is done with so many rows, from the given one on.
    """
    build = emitter.build
    parts = build.sdiv(build.add(count, int64(most - 1)), int64(most))
    least, more = build.sdiv(count, parts), build.srem(count, parts)
    with emitter.loop(int64(0), parts) as part:
        longer = build.icmp_signed("<", part.index, more)
        size = build.add(least, build.select(longer, int64(1), int64(0)))
        first = build.add(build.mul(part.index, least), build.select(longer, part.index, more))
        for rows in range(1, most + 1):
            with emitter.when(build.icmp_signed("==", size, int64(rows))):
                write(rows, first)
