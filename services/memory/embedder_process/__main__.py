"""The embedder's process: `python -m services.memory.embedder_process`, started by `EmbedderProcess`.

Reads frames on standard input: first an order, which says what to load, then requests. Answers on standard output:
first with what it has loaded or why it cannot, then with each request's vectors, queries' before messages'. Ends when
its input does: when the service is done with it, or is no more.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from services.memory.embedder.async_embedder import Kind
from services.memory.embedder.facts import EmbedderFacts
from services.memory.embedder.load import EmbedderOptions, load_embedder
from services.memory.embedder.worker import Batched, EmbedderWorker
from services.memory.embedder_process.frames import Frame, FrameReader
from services.memory.embedder_process.order import Order, Request
from services.rpc.log import configure_logging, where
from services.rpc.settings import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.memory.embedder.worker import Outcome

_log = structlog.get_logger()

_INPUT = 0
_READ_BYTES = 1 << 18


class _Answers:
    """Writes frames from several threads to a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, frame: Frame) -> None:
        left = memoryview(frame.to_bytes())
        with self._lock:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except OSError:  # nobody is left to answer
                    os._exit(0)

    def outcome(self, number: int, outcome: Outcome) -> None:
        if isinstance(outcome, Batched):
            facts: dict[str, Any] = {"number": number, "tokens": outcome.embedded.tokens, "seconds": outcome.seconds}
            self.send(Frame(facts, outcome.embedded.rows))
        else:
            _log.error("embedding failed", failure=where(outcome))
            self.send(Frame({"number": number, "failure": type(outcome).__name__}))


def main() -> None:
    """Serves until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Sent to all processes of a container or unit, they tell the service to finish what is under way.
        signal.signal(number, signal.SIG_IGN)
    answers = _Answers(os.dup(sys.stdout.fileno()))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no frame
    frames = _frames()
    first = next(frames, None)
    if first is None:
        return
    order = Order.of(first)
    configure_logging("memory-embedder", order.log_level, order.log_format)
    try:
        embedder = load_embedder(order.embedder, order.threads, EmbedderOptions(order.prompts))
    except StartupError as refusal:
        answers.send(Frame({"refused": str(refusal)}))
        return
    except Exception as failure:  # a library that is not there, or broken
        answers.send(Frame({"refused": f"The embedder {order.embedder} cannot be loaded: {where(failure)}"}))
        return
    workers = {kind: EmbedderWorker(kind, embedder, order.batch_size) for kind in Kind}
    answers.send(Frame(asdict(EmbedderFacts.of(embedder))))
    for frame in frames:
        request = Request.of(frame)
        workers[request.kind].put(request.texts, counted=request.counted, done=partial(answers.outcome, request.number))
    # What is being embedded is of no use to anybody any more.
    os._exit(0)


def _frames() -> Iterator[Frame]:
    reader = FrameReader()
    while data := os.read(_INPUT, _READ_BYTES):
        yield from reader.feed(data)


if __name__ == "__main__":
    main()
