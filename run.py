"""Sets up and runs the chat: `python run.py`. See `python run.py --help`.

Parsed by Pythons as old as 3.8, so that they can say which one is needed.
"""

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036 (met by whoever starts it with an older Python)
    sys.exit(
        "error: Python 3.11 or later is needed; this is Python {}.{}. Start it with a later one, for example: "
        "python3.11 run.py".format(*sys.version_info[:2])
    )

from deploy.launch.cli import main

if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a second Ctrl-C at the very end would print a traceback.
    os._exit(code)
