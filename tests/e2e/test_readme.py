"""The README's program works as it stands."""

import os
import re
import subprocess
import sys

from tests.e2e.stack import ROOT, Stack


def test_the_python_example_prints_a_reply(stack: Stack):
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    program = example[1].replace("127.0.0.1:50051", f"127.0.0.1:{stack.ports['gateway']}")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "gen")])
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Paris" in ran.stdout
