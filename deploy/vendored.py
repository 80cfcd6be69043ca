"""The libraries that the page carries along: copied from npm, unchanged, and held to what npm published.

    python -m deploy.vendored            copies them anew, as `vendor/packages.json` names them
    python -m deploy.vendored --check    says what differs from it; asks nobody

`packages.json` says of each package its version, its licence, npm's hash of the whole archive, and each file's own.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "services" / "gateway" / "web" / "static" / "vendor"
_RECORD = FOLDER / "packages.json"


def differences(folder: Path = FOLDER) -> list[str]:
    """Returns a sentence for each file that is missing, is another than was recorded, or was recorded nowhere."""
    recorded = {
        folder / package["folder"] / target: digest
        for package in _packages(folder)
        for target, (_, digest) in package["files"].items()
    }
    present = {path for path in folder.rglob("*") if path.is_file() and path.name != _RECORD.name}
    return [
        *(f"{path.relative_to(folder)} is missing" for path in sorted(recorded.keys() - present)),
        *(f"{path.relative_to(folder)} is recorded nowhere" for path in sorted(present - recorded.keys())),
        *(
            f"{path.relative_to(folder)} is not what npm published"
            for path in sorted(recorded.keys() & present)
            if _digest(path.read_bytes()) != recorded[path]
        ),
    ]


def copy() -> None:
    """Fetches the recorded versions and copies the recorded files; what npm's hash does not vouch for is refused."""
    packages = _packages(FOLDER)
    for package in packages:
        with tempfile.TemporaryDirectory() as scratch:
            archive = _fetched(f"{package['name']}@{package['version']}", Path(scratch))
            integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
            if package["integrity"] not in {"", integrity}:
                sys.exit(f"{package['name']} {package['version']} is not the archive that was recorded.")
            package["integrity"] = integrity
            with tarfile.open(archive) as contents:
                for target, (source, _) in package["files"].items():
                    member = contents.extractfile(f"package/{source}")
                    if member is None:
                        sys.exit(f"{package['name']} {package['version']} has no file {source}.")
                    data = member.read()
                    path = FOLDER / package["folder"] / target
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
                    package["files"][target] = [source, _digest(data)]
    _RECORD.write_text(json.dumps(packages, indent=2) + "\n", encoding="utf-8")


def _packages(folder: Path) -> list[dict[str, Any]]:
    packages: list[dict[str, Any]] = json.loads((folder / _RECORD.name).read_text(encoding="utf-8"))
    return packages


def _fetched(package: str, folder: Path) -> Path:
    subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603, S607 - a fixed command
    (archive,) = folder.glob("*.tgz")
    return archive


def _digest(data: bytes) -> str:
    return "sha256-" + hashlib.sha256(data).hexdigest()


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m deploy.vendored", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say what differs")
    if not parser.parse_args().check:
        copy()
    found = differences()
    for sentence in found:
        sys.stderr.write(f"{sentence}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
