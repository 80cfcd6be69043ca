"""Log lines: structured, on standard error, without text of conversations.

What a person wrote or a model answered never goes into a log line, and neither do exception messages that may
quote it: an unexpected exception is logged as its type and the places it came through.
"""

from __future__ import annotations

import io
import logging
import sys
import traceback
from typing import Literal

import structlog


class _StandardError(io.StringIO):
    """Standard error as it is at the moment of writing, whoever may have replaced it since start."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logging(service: str, level: str, form: Literal["text", "json"]) -> None:
    """Sends log lines of this process to standard error, marked with the service's name."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=_StandardError()),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
    # Libraries' own loggers: warnings and worse, as plain lines on the same stream.
    logging.basicConfig(level=logging.WARNING, stream=_StandardError(), format="%(levelname)s %(name)s: %(message)s")


def where(failure: BaseException) -> str:
    """Returns an exception as its type and places, innermost last, without its message."""
    frames = traceback.extract_tb(failure.__traceback__)
    places = " > ".join(f"{f.filename.rsplit('/', 2)[-1]}:{f.lineno}:{f.name}" for f in frames[-6:])
    cause = failure.__cause__ or failure.__context__
    chained = f" from {where(cause)}" if cause is not None and cause is not failure else ""
    return f"{type(failure).__qualname__} at {places}{chained}"
