"""Goes round the contenders: every step on each of them in turn, as often as asked.

All are started first and held still while another is measured. A step goes round all contenders before the next one
begins, so that whatever else the machine does hits them alike.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

from bench.engine import contenders, stream_path
from bench.engine.client import RequestFailed
from bench.engine.contender import Step, steps
from bench.engine.roofline import FORMS, Machine, Shape
from bench.engine.roofline import step as decode_step
from bench.engine.server_process import NotStarted
from bench.engine.workload import Prompts
from bench.result import Observation
from bench.summary import median

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.engine.contender import Contender
    from bench.engine.contenders import Place
    from bench.engine.workload import Encode, Workload

    Seen = list[tuple[str, Observation]]

_STEP_SECONDS = 900.0
_SPEED_SECONDS = 120.0
MACHINE = "machine"


class Run:
    """One run.

    Args:
        place: What contenders are started with.
        encode: The model's tokenizer.
        workload: Sizes.
        tell: Takes a line for whoever watches.
    """

    def __init__(self, place: Place, encode: Encode, workload: Workload, tell: Callable[[str], None]) -> None:
        self._place = place
        self._encode = encode
        self._workload = workload
        self._tell = tell
        self.seen: Seen = []
        """All observations so far, each with the contender it is of."""
        self.missing: dict[str, str] = {}
        """Contenders that could not be started, each with the reason."""
        self.failures: dict[str, str] = {}
        """Steps of contenders that failed, each with the reason."""

    async def go(
        self, entrants: Sequence[Contender], rounds: int, kinds: Sequence[str], keep: Callable[[], None]
    ) -> None:
        """Measures.

        Args:
            entrants: Whom to measure.
            rounds: How often.
            kinds: Which kinds of steps; empty: all.
            keep: Called after each round, to keep what was seen.
        """
        try:
            ready = [entrant for entrant in entrants if await self._start(entrant)]
            wanted = [step for step in steps(self._workload) if not kinds or step.kind in kinds]
            for number in range(1, rounds + 1):
                await self._round(f"{number}", ready, wanted, stream=not kinds or "stream" in kinds)
                keep()
                self._tell(f"round {number} of {rounds} done")
        finally:
            for entrant in entrants:
                await entrant.stop()

    async def _start(self, entrant: Contender) -> bool:
        self._tell(f"starting {entrant.name}")
        try:
            await entrant.start()
            # The first request of a process pays for what later ones find done.
            await entrant.observe(Step("decode", 2), Prompts(self._encode, "warm-up"), self._workload)
        except (NotStarted, RequestFailed, OSError) as failure:
            self.missing[entrant.name] = str(failure)
            self._tell(f"{entrant.name} is not measured: {failure}")
            return False
        entrant.pause()
        return True

    async def _round(self, number: str, entrants: Sequence[Contender], wanted: Sequence[Step], *, stream: bool) -> None:
        self.seen += [(MACHINE, seen) for seen in await machine_speed(self._place.threads)]
        for step in wanted:
            for entrant in entrants:
                prompts = Prompts(self._encode, f"{number} {step}")
                entrant.resume()
                try:
                    async with asyncio.timeout(_STEP_SECONDS):
                        seen = await entrant.observe(step, prompts, self._workload)
                except (RequestFailed, TimeoutError) as failure:
                    self.failures[f"{entrant.name} {step}"] = str(failure) or "it took too long"
                    self._tell(f"{entrant.name} failed at {step}: {failure}")
                else:
                    self.seen += [(entrant.name, one) for one in seen]
                    if seen:
                        self._tell(f"{step} {entrant.name}: {seen[0].value:.1f} {seen[0].unit}")
                finally:
                    entrant.pause()
        if stream:
            try:
                path = await stream_path.observe(self._workload, self._place.log("stream path"))
                self.seen += [(contenders.OURS, one) for one in path]
            except (NotStarted, RequestFailed) as failure:
                self.failures["stream path"] = str(failure)


async def machine_speed(threads: int) -> list[Observation]:
    """Measures the machine, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.engine.machine_speed", str(threads), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), _SPEED_SECONDS)
    found = json.loads(output)
    return [
        Observation("machine", "read", "GB/s", found["read_bytes_per_second"] / 1e9),
        Observation("machine", "matmul_bf16", "GFLOP/s", found["bf16_operations_per_second"] / 1e9),
        Observation("machine", "matmul_fp32", "GFLOP/s", found["fp32_operations_per_second"] / 1e9),
    ]


def limits(seen: Seen, shape: Shape, workload: Workload, prompt_tokens: int) -> Seen:
    """Returns what the machine could do at most, and the share of it that was reached.

    Args:
        seen: What was measured.
        shape: The model.
        workload: Sizes.
        prompt_tokens: Of each prompt of the `decode` steps.

    A limit is of steps that give each reply one token, so the share is that of such steps.
    """
    speeds = {
        metric: [one.value for _, one in seen if one.measure == "machine" and one.metric == metric]
        for metric in ("read", "matmul_bf16", "matmul_fp32")
    }
    machine = Machine(
        1e9 * median(speeds["read"]), 1e9 * max(median(speeds["matmul_bf16"]), median(speeds["matmul_fp32"]))
    )
    found: Seen = []
    for streams in workload.streams:
        measure = f"decode/{streams}"
        reached = [
            one.value
            for name, one in seen
            if (name, one.measure, one.metric) == (contenders.PLAIN, measure, "tokens_per_second")
        ]
        for form in FORMS:
            one_step = decode_step(shape, form, streams, prompt_tokens + workload.reply / 2)
            name = f"limit, {form.name}"
            most = one_step.tokens_per_second(machine)
            found += [
                (name, Observation(measure, "tokens_per_second", "tokens/s", most)),
                (name, Observation(measure, "step_bytes", "MB", one_step.bytes / 1e6)),
                (name, Observation(measure, "step_operations", "GFLOP", one_step.operations / 1e9)),
                (name, Observation(measure, "step_reading", "ms", 1e3 * one_step.reading_seconds(machine))),
                (name, Observation(measure, "step_arithmetic", "ms", 1e3 * one_step.arithmetic_seconds(machine))),
            ]
            if reached:
                share = median(reached) / most
                found.append((contenders.PLAIN, Observation(measure, f"share_of_{name}", "", share)))
    return found
