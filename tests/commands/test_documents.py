"""Commands that the documents show are all run in a small form: compared with the list of those."""

import ast
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from . import documents
from .documents import ROOT, key, options
from .small import LIST, entries

EXCUSED = tomllib.loads(LIST.read_text())["excused"]
SHOWN = documents.shown()
CI = (ROOT / ".ci" / "run").read_text().splitlines()


def listed() -> dict[str, set[str]]:
    """Options that the small forms of a command use, by command."""
    found: dict[str, set[str]] = {}
    for entry in entries():
        command = entry.get("run") or entry.get("ci") or entry["of"]
        found.setdefault(key(command), set()).update(options(command))
    return found


def excuse(what: str) -> str | None:
    """Pattern that says why something has no small form."""
    return next((pattern for pattern in EXCUSED if fnmatch(what, pattern)), None)


def missing() -> tuple[list[str], set[str]]:
    """What is shown and not run, and the excuses that were used."""
    small, used = listed(), set[str]()
    absent: dict[str, str] = {}
    for command, places in SHOWN.items():
        name = key(command)
        wanted = {f"{name} {option}" for option in options(command)} | {name}
        have = {f"{name} {option}" for option in small.get(name, ())}
        have |= {name} if name in small else set()
        for what in sorted(wanted - have):
            pattern = excuse(what)
            if pattern:
                used.add(pattern)
            else:
                absent.setdefault(what, f"{what}    # {', '.join(places)}: {command}")
    return [*absent.values()], used


def test_every_command_and_option_of_the_documents_has_a_small_form():
    absent, _ = missing()
    assert not absent, "\n".join(["not in tests/commands/commands.toml:", *absent])


def test_no_excuse_is_left_over():
    assert set(EXCUSED) - missing()[1] == set()


def test_the_documents_show_the_commands_of_the_chain():
    # If nothing were found, nothing would be missing.
    names = {key(command) for command in SHOWN}
    assert {f"steelyard {name}" for name in ("prune", "quantize", "compile", "run")} <= names
    assert {"make netlist", "make demo", "python -m steelyard_sim.runs.faults"} <= names
    assert len(SHOWN) > 90


@pytest.mark.parametrize("entry", entries(), ids=str)
def test_an_entry_is_run_by_what_it_names(entry):
    assert len({"run", "ci", "test"} & set(entry)) == 1
    if "ci" in entry:
        assert any(re.sub(r" *#.*", "", line).strip() == entry["ci"] for line in CI)
    if "run" in entry:
        assert entry["run"].split()[0] in ("steelyard", "make", "python")
        assert "make commands" in CI
    if "test" in entry:
        path, _, name = entry["test"].partition("::")
        tree = ast.parse((ROOT / path).read_text())
        tests = [each.name for each in tree.body if isinstance(each, ast.FunctionDef)]
        assert name in tests if name else any(each.startswith("test_") for each in tests)
        key(entry["of"])


def test_help_of_make_names_every_target():
    text = (ROOT / "Makefile").read_text()
    named = set(re.findall(r'@echo "make ([a-z-]+)', text))
    assert documents.targets() - named == {"clean", "help"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("    make demo    # all of it\n", ["make demo"]),
        ("```sh\nmake demo \\\n   DEMO_ARGS=1\n```", ["make demo DEMO_ARGS=1"]),
        ("See `steelyard boards`, `steelyard.prune` and `make nothing`.", ["steelyard boards"]),
        ("    python a.py --x 1\n    ... --y 2\n", ["python a.py --x 1", "python a.py --y 2"]),
        ("    A=1 python -m a\n", ["A=1 python -m a"]),
        ('    V="--seed 1"\n    python a.py $V\n', ["python a.py --seed 1"]),
        ("steelyard prune is a command", []),
    ],
)  # fmt: skip
def test_commands_are_found_as_documents_show_them(text, found):
    assert list(documents.commands(text)) == found


def test_options_are_told_with_the_names_that_they_choose():
    command = "steelyard compile [--engine crossbar] a.onnx -o b --batch 8 --device virtual:x"
    assert options(command) == {
        "--engine", "--engine crossbar", "-o", "--batch", "--device", "--device virtual",
    }  # fmt: skip
    assert options("make netlist SIM=icarus ARGS='--flip 1'") == {"SIM", "SIM icarus", "ARGS"}


def test_pythons_example_of_the_readme_runs(tmp_path, monkeypatch):
    import numpy as np

    from steelyard.compile import compile as compile_program
    from steelyard.contract import AcceleratorConfig
    from steelyard.network.random import random_network

    from .small import ARRAY

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("array.toml").write_text(ARRAY)
    network = random_network(1, layers=2, max_channels=4, max_pixels=20)
    compile_program(network, AcceleratorConfig.from_toml("array.toml")).save("net.syp")
    names = {"images": np.zeros((2, *network.tensor(network.input).shape), np.float32)}
    exec(code, names)
    assert len(names["scores"]) == 2
