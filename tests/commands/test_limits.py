"""No test can hang the run: each has a limit, which holds inside compiled code too."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_has_a_limit(pytestconfig):
    assert pytestconfig.pluginmanager.hasplugin("timeout")
    assert float(pytestconfig.getini("timeout")) <= 600


def test_a_test_that_hangs_in_compiled_code_fails_the_run(tmp_path):
    # The C library's sleep is not interrupted, unlike Python's.
    (tmp_path / "test_hang.py").write_text(
        "import ctypes\n\n\ndef test_hang():\n    ctypes.CDLL(None).sleep(60)\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "-p", "no:cacheprovider",
         "-o", "timeout=1", tmp_path],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode != 0
    assert "Timeout" in run.stdout + run.stderr and "test_hang" in run.stdout + run.stderr
