"""ResNet-50 in full width is checked and compiled within bounds of time and memory."""

import os
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "experiments" / "import_speed.py"


def test_resnet50_of_full_size_is_within_its_limits():
    run = subprocess.run(
        [sys.executable, SCRIPT, "--seed", "1"],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(run.stdout, run.stderr)
    assert run.returncode == 0
    lines = re.findall(r"^resnet50 (int8|float) +(check|compile) ", run.stdout, re.MULTILINE)
    assert lines == [("int8", "check"), ("float", "check"), ("int8", "compile")]
