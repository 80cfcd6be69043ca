"""One search from its words to what is told of each message found, in one call: `words`, products, `rank`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.kernels.emitter import F32, I64, float32, int64
from services.memory.scoring.scoring_function import ScoringFunction
from services.memory.scoring.tables import IndexField, Part, RoomField

if TYPE_CHECKING:
    from services.kernels.emitter import Value


def write_search(module: Any, words: Any, products: Any, rank: Any) -> None:
    """Adds the function `search`, which calls these."""
    _SearchWriter(module, products).write(words, rank)


class _SearchWriter(ScoringFunction):
    def __init__(self, module: Any, products: Any) -> None:
        super().__init__(module, "search")
        self._products = products

    def write(self, words: Any, rank: Any) -> None:
        self.call(words)
        self._compare()
        self.call(rank)
        self._tell()
        self.finish()

    def _compare(self) -> None:
        """Multiplies all rows with what is sought: a message without one has 0."""
        build = self.build
        in_order = build.icmp_signed("==", self.number(IndexField.ROW_OF), int64(0))
        out = build.select(in_order, self.address(RoomField.SIMILARITIES), self.address(RoomField.PRODUCTS))
        rows, count = self.address(IndexField.ROWS), self.number(IndexField.ROW_COUNT)
        self.call(self._products, rows, count, self.number(IndexField.SIZE), self.address(RoomField.SOUGHT), out)
        with (
            self.emitter.when(build.not_(in_order)),
            self.emitter.loop(int64(0), self.number(IndexField.COUNT)) as message,
        ):
            row = self.integer(IndexField.ROW_OF, message.index)
            has = build.icmp_signed(">=", row, int64(0))
            # Its own place is read where it has no row: there is room for a product a message.
            product = self.float(RoomField.PRODUCTS, build.select(has, row, message.index))
            self.put(build.select(has, product, float32(0.0)), RoomField.SIMILARITIES, message.index)

    def _tell(self) -> None:
        """Tells how similar each message that is found is to the query itself."""
        build = self.build
        found = self.emitter.load(I64, self.tables[RoomField], 8 * RoomField.FOUND)
        with self.emitter.loop(int64(0), found) as number:
            place = self.integer(RoomField.PLACES, number.index)
            with self.emitter.when(self.is_set(IndexField.EMBEDDED, place)):
                self._tell_one(place, build.add(build.mul(number.index, int64(len(Part))), int64(Part.SIMILARITY)))

    def _tell_one(self, place: Value, at: Value) -> None:
        build = self.build
        in_order = build.icmp_signed("==", self.number(IndexField.ROW_OF), int64(0))
        # A place that can be read in any case.
        row_of = build.select(in_order, self.address(RoomField.PLACES), self.address(IndexField.ROW_OF))
        other = self.emitter.load(I64, row_of, build.mul(build.select(in_order, int64(0), place), int64(8)))
        row = build.select(in_order, place, other)
        size = self.number(IndexField.SIZE)
        start = self.emitter.at(self.address(IndexField.ROWS), build.mul(build.mul(row, size), int64(2)))
        out = self.emitter.at(self.address(RoomField.PARTS), build.mul(at, int64(4)))
        self.call(self._products, start, int64(1), size, self.address(RoomField.QUERY), out)
        similarity = self.emitter.load(F32, out)
        above = self.emitter.greater(similarity, float32(-1.0))
        self.emitter.store(self.emitter.smaller(above, float32(1.0)), out)
