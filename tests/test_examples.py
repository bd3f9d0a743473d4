"""Every script of examples/ runs as it stands, in an empty folder, without a warning."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def test_there_are_examples_and_each_is_listed():
    listing = (SCRIPTS[0].parent / "README.md").read_text(encoding="utf-8")
    assert len(SCRIPTS) >= 4
    assert all(f"`{script.name}`" in listing for script in SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_runs(script, tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) >= 3
    assert not result.stderr
