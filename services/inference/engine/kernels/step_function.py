"""What all parts of the step's function have in common: the table it is called with, its rows, its fellow threads."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.inference.engine.kernels.barrier import WORK, write_barrier
from services.inference.engine.kernels.crew_kernel import line_of
from services.inference.engine.kernels.linear_kernel import ROWS_AT_ONCE
from services.inference.engine.kernels.step_tables import LayerField, StepField, WorkspaceField
from services.kernels.emitter import ADDRESS, I64, Emitter, int64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.inference.engine.kernels.waiting import Waiting
    from services.kernels.emitter import Value

PARTS = 4
"""How many parts of a linear a thread takes on where all are equally fast: one that is held up takes fewer."""
_FINER = 4
"""How many times as many it takes on of many rows, where a part lasts: the last one is waited for less."""
_MANY_ROWS = 2 * ROWS_AT_ONCE
"""There are many beyond so many."""
_FEW_ROWS = ROWS_AT_ONCE
"""So many rows are cheaper to norm and to round in every thread than to wait for."""
QUANTIZED = (
    WorkspaceField.VALUES,
    WorkspaceField.SCALES,
    WorkspaceField.SUMS,
    WorkspaceField.OFFSETS,
    WorkspaceField.HALVES,
    WorkspaceField.OUTLYING,
)
"""Where `QuantizedRows` are, in their order."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some of a step's tokens."""

    count: Value
    numbers: Value
    """Address of 64-bit integers: which they are."""

    def number(self, emitter: Emitter, place: Value) -> Value:
        """Returns which one is at a place among them."""
        return emitter.load(I64, self.numbers, emitter.build.mul(place, int64(8)))

    def if_(self, emitter: Emitter, condition: Value, others: Rows) -> Rows:
        """Returns these where a condition holds, and others where it does not."""
        count = emitter.build.select(condition, self.count, others.count)
        return Rows(count, emitter.build.select(condition, self.numbers, others.numbers))


class StepFunction:
    """The function `step` while it is written.

    Args:
        module: What it becomes a part of.
        waiting: How its threads wait.
        hidden_size: Numbers that stand for a token between layers.
    """

    def __init__(self, module: Any, waiting: Waiting, hidden_size: int) -> None:
        self._barrier = write_barrier(module, waiting)
        self.emitter = emitter = Emitter(module, "step", [ADDRESS, I64])
        build = emitter.build
        self._table, thread = emitter.arguments
        self.threads = self.number(StepField.THREADS)
        """How many run the function."""
        self._line = line_of(emitter, self.address(StepField.STATES), thread)
        self.all = Rows(self.number(StepField.ROWS), self.address(StepField.ALL))
        """All tokens."""
        self.wanted = Rows(self.number(StepField.WANTED_ROWS), self.address(StepField.WANTED))
        """Those whose logits are asked for."""
        count = self.all.count
        self._is_shared = build.icmp_signed(">", count, int64(_FEW_ROWS))
        finer = build.select(build.icmp_signed(">", count, int64(_MANY_ROWS)), int64(_FINER), int64(1))
        self._shares = build.mul(self.threads, finer)
        workspaces = self.address(StepField.WORKSPACES)
        own = emitter.at(workspaces, build.mul(thread, int64(8 * len(WorkspaceField))))
        self.own = {field: emitter.load_address(own, 8 * field) for field in WorkspaceField}
        """Addresses of what this thread writes, `QUANTIZED` those of the first where all write to the same."""
        for field in QUANTIZED:
            of_first = emitter.load_address(workspaces, 8 * field)
            self.own[field] = build.select(self._is_shared, of_first, self.own[field])
        given = self.address(StepField.HIDDEN)
        with emitter.when(build.not_(self._is_shared)):
            size = build.mul(count, int64(4 * hidden_size))
            self._copy(given, self.own[WorkspaceField.HIDDEN], size)
        self.hidden = build.select(self._is_shared, given, self.own[WorkspaceField.HIDDEN])
        """Address of the tokens as they are between layers."""

    def finish(self) -> Any:
        """Ends the function and returns it."""
        return self.emitter.finish()

    def number(self, field: StepField) -> Value:
        """Returns a number of the table."""
        return self.emitter.load(I64, self._table, 8 * field)

    def address(self, field: StepField) -> Value:
        """Returns an address of the table."""
        return self.emitter.load_address(self._table, 8 * field)

    def layer_number(self, fields: Value, field: LayerField) -> Value:
        """Returns a number of a layer's table."""
        return self.emitter.load(I64, fields, 8 * field)

    def layer_address(self, fields: Value, field: LayerField) -> Value:
        """Returns an address of a layer's table."""
        return self.emitter.load_address(fields, 8 * field)

    def row_of(self, rows: Value, size: int, number: Value) -> Value:
        """Returns the address of a row of so many floats."""
        return self.emitter.at(rows, self.emitter.build.mul(number, int64(4 * size)))

    def each_row(self, rows: Rows, write: Callable[[Value, Value], None]) -> None:
        """Writes what is done with each row: by every thread, or by one of them, for which all wait.

        Args:
            rows: Which rows.
            write: Takes a row's place among these, and its number.
        """
        emitter, count = self.emitter, rows.count
        build = emitter.build

        def write_at(place: Value) -> None:
            write(place, rows.number(emitter, place))

        with build.if_else(self._is_shared) as (shared, by_all):
            with shared:
                # Whole blocks: their rows are rounded in order.
                blocks = build.sdiv(build.add(count, int64(ROWS_AT_ONCE - 1)), int64(ROWS_AT_ONCE))
                with self.share(blocks) as part:
                    first, end = (build.mul(block, int64(ROWS_AT_ONCE)) for block in part)
                    end = build.select(build.icmp_signed("<", end, count), end, count)
                    with emitter.loop(first, end) as row:
                        write_at(row.index)
                self.wait()
            with by_all, emitter.loop(int64(0), count) as row:
                write_at(row.index)

    @contextmanager
    def share(self, count: Value, parts: int = PARTS) -> Iterator[tuple[Value, Value]]:
        """Writes a loop over this thread's share of `count` things: the first of a part, and the one after the last."""
        build = self.emitter.build
        size = build.sdiv(count, build.mul(self._shares, int64(parts)))
        least = build.select(build.icmp_signed(">", size, int64(1)), size, int64(1))
        taken = self.emitter.at(self.address(StepField.BARRIER), int64(WORK))
        with self.emitter.share(taken, count, least) as part:
            yield part

    def wait(self) -> None:
        """Writes where all threads wait for each other."""
        self.emitter.build.call(self._barrier, [self.address(StepField.BARRIER), self.threads, self._line])

    def _copy(self, source: Value, target: Value, size: Value) -> None:
        emitter = self.emitter
        with emitter.loop(int64(0), size, step=8) as part:
            emitter.store(emitter.load(I64, source, part.index), target, part.index)
