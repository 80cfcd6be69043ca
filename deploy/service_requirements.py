"""What one service's image installs: `python -m deploy.service_requirements gateway cpu`.

Prints the part of a lock that the service needs, hashes and all. It is cut from the same lock that `python run.py`
installs, so an image and a checkout run the same versions.
"""

from __future__ import annotations

import sys

from deploy.launch.lock_file import Lock, parse_lock, render_lock, requirement_names, select
from deploy.launch.places import LOCKS


def service_lock(service: str, lock: str) -> Lock:
    """Returns the part of the lock `cpu` or `cuda` that a service needs."""
    whole = parse_lock((LOCKS / f"{lock}.txt").read_text(encoding="utf-8"))
    wanted = requirement_names((LOCKS / f"{service}.in").read_text(encoding="utf-8"))
    return Lock(select(whole, wanted).pins)


if __name__ == "__main__":
    name, source = sys.argv[1:]
    sys.stdout.write(render_lock(service_lock(name, source), [f"What the {name} service needs, of {source}.txt."]))
