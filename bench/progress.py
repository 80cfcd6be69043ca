"""Lines about how a measurement goes."""

from __future__ import annotations

import sys
import time


def tell(line: str) -> None:
    """Writes a line with the time of day to standard error."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
