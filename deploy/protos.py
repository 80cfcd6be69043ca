"""Generated code: `python -m deploy.protos` makes gen/ anew from protos/; `--check` tells whether it is up to date."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.launch.places import CHECKOUT

PROTOS = CHECKOUT / "protos"
GENERATED = CHECKOUT / "gen"
_SKIPPED = ["__pycache__", ".mypy_cache"]


def generate(output: Path) -> None:
    """Writes the Python code of all protos into an empty folder."""
    output.mkdir(parents=True, exist_ok=True)
    typed_stubs = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
    command += [f"--{kind}_out={output}" for kind in ("python", "pyi", "grpc_python")]
    command += [f"--plugin=protoc-gen-mypy_grpc={typed_stubs}", f"--mypy_grpc_out=quiet:{output}"]
    command += sorted(str(proto) for proto in PROTOS.rglob("*.proto"))
    subprocess.run(command, check=True)  # noqa: S603 (a command of our own)


def differences(expected: Path, actual: Path) -> list[str]:
    """Returns the paths in which two folders differ, relative to them, in order."""
    compared = filecmp.dircmp(expected, actual, ignore=_SKIPPED)
    found = [*compared.left_only, *compared.right_only, *compared.common_funny]
    _, unequal, unreadable = filecmp.cmpfiles(expected, actual, compared.common_files, shallow=False)
    found += [*unequal, *unreadable]
    for folder in compared.common_dirs:
        found += [f"{folder}/{name}" for name in differences(expected / folder, actual / folder)]
    return sorted(found)


def drift() -> list[str]:
    """Returns the generated files that are not what the protos give."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        return differences(Path(folder), GENERATED)


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        changed = drift()
        if changed:
            sys.exit("gen/ is not what protos/ gives; run `make protos`. Different: " + ", ".join(changed))
    else:
        shutil.rmtree(GENERATED, ignore_errors=True)
        generate(GENERATED)
