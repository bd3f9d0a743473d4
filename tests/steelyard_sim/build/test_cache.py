"""Cache of compiled simulations: what its key depends on, and which files it believes."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

import steelyard
import steelyard_hw
import steelyard_sim
from steelyard.errors import UserError
from steelyard_sim import cache_folder
from steelyard_sim.build.cache import cached_file
from steelyard_sim.build.library import CONVERTER, LINK, gateware_sources
from steelyard_sim.build.sources import sources

ROOTS = [Path(str(package.__file__)).parents[1] for package in (steelyard, steelyard_hw)]
"""Folders of the packages that the gateware comes from."""
GENERATE = """
from amaranth.back import rtlil
from steelyard.contract import configure
from steelyard_hw import verilog
from steelyard_hw.link.serial import SerialAccelerator
small = dict(lanes=4, requantizers=1, activation_words=64, weight_words=64, parameter_words=16)
for config in (
    configure("array", columns=2, partial_sum_channels=16, **small),
    configure("array", "compact", columns=2, partial_sum_channels=16, **small),
    configure("crossbar", window_groups=8, partial_sum_channels=16, **small),
):
    board = SerialAccelerator(config, divider=4, clock_hz=1)
    print(rtlil.convert(board, name="top", emit_src=False))
"""
"""Prints the design of every engine and of the link."""
DIGESTS = """
import sys
from pathlib import Path
from steelyard_sim.build.library import CONVERTER, LINK, gateware_digest
modules = (*CONVERTER, LINK)
print(gateware_digest(*modules))
for path in map(Path, sys.argv[1:]):
    original = path.read_bytes()
    path.write_bytes(original + b"# changed\\n")
    print(gateware_digest(*modules))
    path.write_bytes(original)
print(gateware_digest(*modules))
"""
"""Prints the digest before, with each of the files changed, and after."""


def copied(found: dict[str, Path], root: Path) -> None:
    """Copy the modules alone, with packages that hand on nothing but what is there."""
    for name, path in found.items():
        target = root / Path(*name.split(".")).with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    for package in {name.rpartition(".")[0] for name in found}:
        below = Path(*package.split("."), "__init__.py")
        (file,) = (source / below for source in ROOTS if (source / below).exists())
        tree = ast.parse(file.read_text())
        tree.body = [
            node
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and f"{package}.{node.module}" in found
        ]
        (root / Path(*package.split(".")) / "__init__.py").write_text(ast.unparse(tree))


def output(script: str, *arguments: object, path: str) -> str:
    """What a Python that sees only the folders of `path` prints."""
    command = [sys.executable, "-P", "-c", script, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": path}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_sources_alone_make_the_same_design(tmp_path):
    copied(gateware_sources(*CONVERTER, LINK), tmp_path)
    made = output(GENERATE, path=str(tmp_path))
    assert len(made) > 100_000
    assert made == output(GENERATE, path=os.pathsep.join(map(str, ROOTS)))


def test_a_change_of_a_source_changes_the_key(tmp_path):
    for root in ROOTS:
        shutil.copytree(root, tmp_path, dirs_exist_ok=True, ignore=_all_but_sources)
    found = gateware_sources(*CONVERTER, LINK)
    names = (
        "contract.descriptor", "contract.configuration", "contract.limits", "contract.sections",
        "engines.crossbar.config", "engines.crossbar.crossbar",
    )  # fmt: skip
    chosen = {f"steelyard.{name}" for name in names}
    assert chosen <= found.keys()
    seed = 1
    print(f"seed {seed}")
    chosen |= set(Random(seed).sample(sorted(found), 5))
    files = [tmp_path / Path(*name.split(".")).with_suffix(".py") for name in chosen]
    sim = Path(str(steelyard_sim.__file__)).parents[1]
    digests = output(DIGESTS, *files, path=f"{tmp_path}{os.pathsep}{sim}").split()
    before, *changed, after = digests
    assert before == after
    assert len({before, *changed}) == 1 + len(files)


def _all_but_sources(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(name).suffix not in ("", ".py")]


def test_names_that_a_package_hands_on_lead_to_their_module(tmp_path, monkeypatch):
    files = {
        "__init__": "from .one import First as Renamed, Other\nfrom . import three\nOWN = 1\n",
        "one": "from .two import *\nimport steelyardx.five\n",
        "two": "",
        "three": "",
        "four": "",
        "five": "def late():\n    from .six import x\n",
        "six": "",
        "a": "from steelyardx import Renamed\n",
        "b": "from steelyardx import three, four\n",
        "c": "from . import OWN\n",
        "d": "import numpy\nfrom json import loads\n",
        "e": "from .missing import x\n",
    }
    for name, text in files.items():
        (tmp_path / "steelyardx").mkdir(exist_ok=True)
        (tmp_path / "steelyardx" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    def names(module: str) -> list[str]:
        found = sources(f"steelyardx.{module}")
        assert all(path.is_file() for path in found.values())
        return [name.rpartition(".")[2] for name in found]

    assert names("a") == ["a", "five", "one", "six", "two"]
    assert names("b") == ["b", "four", "three"]
    assert names("c") == ["steelyardx", "c", "five", "one", "six", "three", "two"]
    assert names("d") == ["d"]
    with pytest.raises(ModuleNotFoundError, match=r"steelyardx\.missing"):
        names("e")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the cache, not made yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "steelyard"


def text(content: str = "whole") -> Path:
    """File of the cache, with `content` if it must be made."""
    return cached_file("key", ".txt", lambda path: path.write_text(content) and None)


def test_a_file_is_made_once_for_the_user_alone(folder):
    made = text("first")
    assert text("second") == made
    assert made.read_text() == "first"
    assert made.parent == folder == cache_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.suffix for path in folder.iterdir()} == {".txt", ".lock"}


@pytest.mark.parametrize("damage", [b"", b"whol", b"whole!"])
def test_a_damaged_file_is_made_again(folder, damage):
    made = text()
    made.write_bytes(damage)
    assert text("whole").read_text() == "whole"
    assert len(list(folder.glob("*.txt"))) == 1


def test_a_link_in_place_of_a_file_is_not_followed(folder, tmp_path):
    made = text()
    other = tmp_path / "other"
    made.rename(other)
    made.symlink_to(other)
    assert not text().is_symlink()
    assert other.read_text() == "whole"


def test_a_failure_leaves_nothing(folder):
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        cached_file("key", ".txt", fail)
    assert [path.suffix for path in folder.iterdir()] == [".lock"]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_is_refused(folder, mode):
    text()
    folder.chmod(mode)
    with pytest.raises(UserError, match="may be written by other users.*; delete it") as refused:
        text()
    assert str(folder) in str(refused.value)
    # The advice works.
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert text().read_text() == "whole"


def test_a_folder_of_another_user_is_refused(folder, tmp_path, monkeypatch):
    text()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UserError, match="belongs to another user.*; set XDG_CACHE_HOME to a"):
        text()


def test_a_lock_that_is_a_link_is_neither_followed_nor_cut(folder, tmp_path):
    lock = text().parent / next(path.name for path in folder.glob("*.lock"))
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock.unlink()
    lock.symlink_to(victim)
    next(folder.glob("*.txt")).unlink()
    with pytest.raises(UserError, match=r"lock '.*\.lock' .* is a link.*; delete it"):
        text()
    assert victim.read_text() == "precious"
    lock.unlink()
    lock.write_text("kept")
    text()
    assert lock.read_text() == "kept"


def test_a_relative_folder_is_ignored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value in ("cache", "./cache", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == tmp_path / "home" / ".cache" / "steelyard"
