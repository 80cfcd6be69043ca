"""`python -m services.gateway.keys`: runs one command."""

import sys

from services.gateway.keys.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
