"""How a command ends."""

from __future__ import annotations

WHOLE = 0
"""It was done; of `check`: nothing is wrong."""
FAULTS = 1
"""Of `check`: something is wrong. Of others: it was begun and not done."""
CANNOT_RUN = 2
"""It was not begun: something must be set right first."""
STOPPED = 130
"""Somebody ended it, by Ctrl-C or SIGTERM."""


class CannotRun(Exception):
    """The command cannot begin. The message is one sentence for whoever gave it."""
