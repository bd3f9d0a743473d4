"""The regression's command line, and a short run of it on the smallest accelerator."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("regression.py")


def run(*arguments, **environment):
    """Exit status and output of the regression."""
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


def test_random_programs_on_the_generated_verilog_agree_with_the_golden_model(tmp_path):
    arguments = ("--sim", "verilator", "--bench", "accelerator", "--config", "0")
    status, out, err = run(*arguments, "--seed", "3", "--count", "3", "--output", str(tmp_path))
    assert status == 0, out + err
    assert out.splitlines()[-1] == "3 passed, 0 failed"
    results = json.loads((tmp_path / "verilator.json").read_text())
    assert [case["seed"] for case in results["cases"]] == [3, 4, 5]
    assert all(case["passed"] and case["case"] for case in results["cases"])
    assert "--seed 3 --count 1 --config 0" in results["cases"][0]["replay"]


def test_random_layers_on_the_tiles_verilog_agree_with_the_golden_crossbar(tmp_path):
    arguments = ("--sim", "verilator", "--bench", "crossbar", "--config", "2")
    status, out, err = run(*arguments, "--seed", "1", "--count", "3", "--output", str(tmp_path))
    assert status == 0, out + err
    assert out.splitlines()[-1] == "3 passed, 0 failed"


def test_a_missing_icarus_is_one_sentence_that_says_how_to_install_it(tmp_path):
    status, out, err = run("--sim", "icarus", "--output", str(tmp_path), PATH=str(tmp_path))
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1 and "apt-get install iverilog" in err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("--sim", "vcs"), "vcs"), (("--count", "0"), "count"), (("--config", "9"), "config")],
)
def test_bad_options_are_named_and_exit_with_2(arguments, word):
    status, _, err = run(*arguments)
    assert status == 2
    assert word in err
