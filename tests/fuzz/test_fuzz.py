"""Every fuzzer with a small count; ``make fuzz`` runs them all in full."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
COUNTS = {
    "programs": 60,
    "configurations": 60,
    "arrays": 60,
    "networks": 200,
    "tflite_files": 200,
}


def test_every_fuzzer_is_run_here():
    found = {path.stem for path in FOLDER.glob("*.py")} - {"harness"}
    assert {name for name in found if not name.startswith("test_")} == set(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_no_case_ends_in_a_fault(name):
    count = str(COUNTS[name])
    run = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", "--count", count, "--seed", "1"],
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(run.stdout, run.stderr)
    assert run.returncode == 0
    assert f"seed 1: {count} cases" in run.stdout and " 0 faults" in run.stdout
