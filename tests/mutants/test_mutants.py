"""The lists of mutants fit the sources, and the harness tells killed mutants from survivors."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import mutants.mutants as harness
from mutants.mutants import ROOT, Mutant, MutantError, Tree, load

SCRIPT = Path(harness.__file__)


def mutant(original, replacement, tests=("test_sum.py",), file="code/sums.py"):
    return Mutant(
        kind="software", file=file, original=original, replacement=replacement, tests=tests
    )


def test_every_original_stands_in_its_file_once_and_its_tests_exist():
    for each in load():
        changed = each.applied((ROOT / each.file).read_text(encoding="utf-8"))
        ast.parse(changed)
        for test in each.tests:
            path, _, name = test.partition("::")
            text = (ROOT / path).read_text(encoding="utf-8")
            assert f"def {name}(" in text if name else path.startswith("tests/"), test


def test_there_are_enough_mutants_that_are_not_argued_equivalent():
    counted = dict.fromkeys(harness.LISTS, 0)
    for each in load():
        counted[each.kind] += not each.equivalent
        assert not each.equivalent or len(each.equivalent) > 30, each.name
    assert counted["hardware"] >= 60
    assert counted["software"] >= 40


@pytest.mark.parametrize(("text", "times"), [("a = 2\n", 0), ("a = 1\nb = 1\na = 1\n", 2)])
def test_an_original_that_is_gone_or_ambiguous_is_an_error(text, times):
    with pytest.raises(MutantError, match=f"stands {times} times in the file, not once"):
        mutant("a = 1", "a = 3").applied(text)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Copy of a tiny project."""
    source = tmp_path / "source"
    (source / "code").mkdir(parents=True)
    (source / "code" / "sums.py").write_text("def add(a, b):\n    return a + b\n")
    (source / "test_sum.py").write_text(
        "from code_path import add\n\n\ndef test_add():\n    assert add(2, 2) == 4\n"
    )
    (source / "code_path.py").write_text(
        "import sys\nsys.path.insert(0, 'code')\nfrom sums import add\n"
    )
    (source / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    names = ("code", "test_sum.py", "code_path.py", "pytest.ini")
    monkeypatch.setattr(harness, "COPIED", names)
    (tmp_path / "copy").mkdir()
    return Tree(source, tmp_path / "copy")


@pytest.mark.parametrize(
    ("replacement", "killed", "by"),
    [
        ("a - b", True, "test_sum.py::test_add"),
        ("a * b", False, ""),
        ("a +", True, "import"),
    ],
)
def test_a_mutant_is_killed_by_a_test_or_survives(tree, tmp_path, replacement, killed, by):
    result = tree.run(mutant("a + b", replacement), 60)
    assert (result.killed, result.by) == (killed, by)
    assert "a + b" in (tmp_path / "copy" / "code" / "sums.py").read_text()
    assert "a + b" in (tmp_path / "source" / "code" / "sums.py").read_text()


def test_a_mutant_that_never_ends_is_killed_by_time(tree):
    result = tree.run(mutant("return a + b", "while True: pass"), 3)
    assert (result.killed, result.by) == (True, "time")


def test_tests_that_do_not_exist_are_an_error(tree):
    with pytest.raises(MutantError, match="pytest ended with 4"):
        tree.run(mutant("a + b", "a - b", tests=("test_other.py",)), 60)


def test_the_command_prints_figures_and_writes_them(tmp_path):
    output = tmp_path / "mutants.json"
    arguments = ["--only", "FLOAT32_EXACT = 1 << 25", "--jobs", "1", "--output", str(output)]
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].startswith("100.0% killed, ")
    document = json.loads(output.read_text())
    assert document["counts"]["software"] == {"killed": 1, "survived": 0, "equivalent": 0}


def test_a_text_that_no_mutant_has_is_refused(tmp_path):
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--only", "no such", "--output", str(tmp_path / "x.json")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr == "Error: No mutant contains 'no such'; give a part of a file's name.\n"
