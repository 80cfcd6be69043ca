"""Runs stand-ins for the services under the real supervision: `stand_in_run.py FOLDER MODE NAME=KIND …`.

MODE is `chat` or `serve`. Kinds: `steady` runs until it is told to stop, `stubborn` does not listen, `refuses` and
`crashes` end by themselves. Each writes its process id to `FOLDER/NAME.pid`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from deploy.launch.backend import Backend
from deploy.launch.cli import report
from deploy.launch.console import Console
from deploy.launch.processes import Service

_PID = "import os, pathlib, signal, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); "
KINDS = {
    "steady": _PID + "sys.stdin.buffer.read()",
    "stubborn": _PID + "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
    "refuses": _PID + "print('noise\\nerror: The port 1 is taken; set PORT to a free one.'); sys.exit(2)",
    "crashes": _PID + "print('\\n'.join(f'line {n}' for n in range(30))); sys.exit(1)",
}
_PROBER = (
    "import pathlib, sys, time\n"
    "for file in sys.argv[1].split(','):\n"
    "    while not pathlib.Path(file).exists() or not pathlib.Path(file).read_text(): time.sleep(0.01)\n"
    "print('\\n'.join(a.partition('=')[0] for a in sys.argv[2:]), flush=True)"
)
_FRONT = _PID + (
    "signal.signal(signal.SIGINT, lambda *_: os.write(1, b'interrupted\\n')); "
    "os.write(1, b'open\\n'); os.write(1, b'said ' + os.read(0, 100)); sys.exit(7)"
)


def main(folder: Path, mode: str, services: list[str]) -> int:
    """Runs the stand-ins and returns the exit status."""
    console = Console(sys.stderr)
    kinds = dict(s.split("=") for s in services)
    pids = {name: folder / f"{name}.pid" for name in kinds}
    backend = Backend(
        [
            Service(name, (sys.executable, "-c", KINDS[kind], str(pids[name])), health="anywhere")
            for name, kind in kinds.items()
        ],
        env={},
        cwd=folder,
        logs=folder,
        prober=(sys.executable, "-c", _PROBER, ",".join(map(str, pids.values()))),
        drain_seconds=0.5 if "stubborn" in kinds.values() else 60,
        console=console,
    )

    def run() -> int:
        with backend.up():
            if mode == "chat":
                return backend.run_in_front([sys.executable, "-c", _FRONT, str(folder / "front.pid")], {})
            sys.stdout.write("open\n")
            sys.stdout.flush()
            backend.run_until_signal()
        return 0

    return report(console, run)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
