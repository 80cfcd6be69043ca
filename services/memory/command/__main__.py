"""`python -m services.memory.command`: runs one command."""

import signal
import sys


def _run() -> int:
    # Whoever ends the process gives the same order as Ctrl-C: what is half done is taken back.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from services.memory.command.main import main  # noqa: PLC0415 (takes a second, which Ctrl-C may fall into)
    except KeyboardInterrupt:
        return 130
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(_run())
