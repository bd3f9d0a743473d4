"""Help texts: complete, with examples, and quick to show."""

import subprocess
import sys

import click
import pytest

from steelyard.contract import configure
from steelyard_cli.app import cli

COMMANDS = [
    "demo",
    "train",
    "check",
    "prune",
    "quantize",
    "compile",
    "run",
    "compare",
    "selftest",
    "report",
    "crossbar",
    "generate",
    "boards",
    "explore",
    "bitstream",
    "flash",
    "demo-board",
    "demo-crossbar",
    "bench",
]


def test_help_lists_all_commands_in_the_order_of_work(steelyard):
    result = steelyard("--help")
    assert result.status == 0
    listed = [line.split()[0] for line in result.out.split("Commands:\n")[1].splitlines()]
    assert listed == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_shows_an_example(steelyard, name):
    result = steelyard(name, "--help")
    assert result.status == 0
    assert "Example" in result.out
    assert f"  steelyard {name}" in result.out


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_explained_or_carry_a_metavar(name):
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help or parameter.show_default or parameter.metavar


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from steelyard_cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'numpy', 'rich', 'torch', 'onnx', 'amaranth'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr


def test_help_of_compile_says_the_defaults_of_both_engines(steelyard):
    text = " ".join(steelyard("compile", "--help").out.split())
    array, tile = configure("array"), configure("crossbar")
    unit = tile.engine.crossbar
    assert (
        f"({array.engine.lanes} lanes, {array.engine.columns} columns, "
        f"groups of {array.engine.group})" in text
    )
    assert (
        f"({tile.engine.lanes} lanes, crossbars of {unit.rows} x {unit.columns} cells, "
        f"operation units of {unit.ou_rows} x {unit.ou_columns}, "
        f"groups of {tile.engine.group} activations)"
    ) in text


def test_version(steelyard):
    assert steelyard("--version").out.startswith("steelyard, version ")
