"""The rooms of the packages: what each imports, and how large its parts are."""

from pathlib import Path

import pytest

import rooms

FLOORS = {
    "steelyard": 1,
    "steelyard_hw": 2,
    "steelyard_sim": 3,
    "steelyard_boards": 3,
    "steelyard_explore": 3,
    "steelyard_cli": 4,
}
"""A package imports from lower floors; CONTRIBUTING.md says what lives on each."""
BESIDE = {("steelyard_explore", "steelyard_boards")}
"""What a package imports of its own floor."""
KEPT_OUT = {
    "steelyard": {"amaranth", "click", "rich", "cocotb"},
    "steelyard_hw": {"torch", "onnx", "onnxruntime", "numpy", "click", "rich"},
    "steelyard_sim": {"torch", "onnx", "onnxruntime", "matplotlib"},
    "steelyard_boards": {"torch", "onnx", "onnxruntime", "matplotlib", "click"},
    "steelyard_explore": {"torch", "onnx", "onnxruntime", "matplotlib", "click", "rich"},
}
"""Distributions that no module of a package imports, not even in a function."""
LATE: dict[rooms.Edge, str] = {}
"""Imports that close a circle, each with its reason."""
LINES = 450
LONG: set[str] = set()
"""Modules with more, to be parted."""
ELABORATE = 80
LONG_ELABORATES: set[str] = set()
"""Longer ones, to be parted."""

MODULES = rooms.sources(rooms.packages())
EDGES = rooms.edges(MODULES)


def _without(late) -> set[rooms.Edge]:
    """Imports but for excused ones and the packages above these."""
    return {
        (start, end)
        for start, end in EDGES
        if not any(start == a and f"{b}.".startswith(f"{end}.") for a, b in late)
    }


def test_every_package_has_a_floor():
    assert set(rooms.packages()) == set(FLOORS)


def test_a_package_imports_from_lower_floors():
    wrong = [
        f"{start}:{each.line} imports {end}"
        for (start, end), each in EDGES.items()
        if (own := start.split(".")[0]) != (other := end.split(".")[0])
        and FLOORS[own] <= FLOORS[other]
        and (own, other) not in BESIDE
    ]
    assert not wrong, "\n".join(wrong)


def test_a_package_stays_away_from_what_is_not_its_own():
    wrong = [
        f"{name}:{each.line} imports {each.module}"
        for name, path in MODULES.items()
        for each in rooms.imports(name, path)
        if each.module.split(".")[0] in KEPT_OUT.get(name.split(".")[0], ())
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_import_each_other_in_no_circle():
    found = rooms.circles(_without(LATE))
    assert not found, _shown(found, EDGES)


def test_rooms_import_each_other_in_no_circle():
    pairs = rooms.between_rooms(_without(LATE))
    found = rooms.circles(pairs)
    assert not found, _shown(found, pairs)


def test_every_excused_import_closes_a_circle():
    for edge in LATE:
        assert edge in EDGES
        others = _without({*LATE} - {edge})
        assert rooms.circles(others) or rooms.circles(rooms.between_rooms(others)), edge


def test_no_room_takes_private_names_of_another():
    wrong = [*rooms.private(MODULES)]
    assert not wrong, "\n".join(wrong)


def test_no_module_is_too_long():
    lengths = {name: path.read_text("utf-8").count("\n") for name, path in MODULES.items()}
    assert {name for name, length in lengths.items() if length > LINES} == LONG


def test_no_elaborate_is_too_long():
    lengths = dict(rooms.elaborates(MODULES))
    assert {name for name, length in lengths.items() if length > ELABORATE} == LONG_ELABORATES


def _shown(found: list[list[str]], pairs) -> str:
    lines = []
    for group in found:
        lines += [f"{a} -> {b}" for a, b in sorted(pairs) if a in group and b in group]
    return "\n".join(lines)


# What the checks above would find, in a small package.

FILES = {
    "__init__.py": "",
    "a/__init__.py": "from .one import x\n",
    "a/one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..b import two\n",
    "b/__init__.py": "",
    "b/two.py": "import torch\nfrom ..a.one import x, _y\nfrom ..a import one\none._z()\n",
}


@pytest.fixture
def small(tmp_path: Path):
    def make(**more: str) -> dict[str, Path]:
        for name, text in {**FILES, **more}.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return rooms.sources({"p": tmp_path})

    return make


def test_imports_are_found_where_they_are(small):
    modules = small()
    assert set(modules) == {"p", "p.a", "p.a.one", "p.b", "p.b.two"}
    found = {(each.module, each.name) for each in rooms.imports("p.b.two", modules["p.b.two"])}
    assert found == {("torch", ""), ("p.a.one", "x"), ("p.a.one", "_y"), ("p.a", "one")}
    edges = rooms.edges(modules)
    assert set(edges) == {("p.a", "p.a.one"), ("p.b.two", "p.a"), ("p.b.two", "p.a.one")}
    assert rooms.circles(edges) == [] == rooms.circles(rooms.between_rooms(edges))


def test_a_circle_is_found_through_functions_and_packages(small):
    modules = small(**{"a/one.py": "def f():\n    from ..b.two import y\n"})
    edges = rooms.edges(modules)
    assert edges["p.a.one", "p.b.two"].late
    assert not edges["p.b.two", "p.a.one"].late
    assert rooms.circles(edges) == [["p.a", "p.a.one", "p.b.two"]]
    assert rooms.circles(rooms.between_rooms(edges)) == [["p.a", "p.b"]]


def test_private_names_are_found(small):
    assert [*rooms.private(small())] == [
        "p.b.two imports _y of p.a.one",
        "p.b.two takes _z of one",
    ]


def test_elaborates_are_measured(small):
    text = "class C:\n    def elaborate(self, platform):\n        m = 1\n        return m\n"
    assert [*rooms.elaborates(small(**{"b/two.py": text}))] == [("p.b.two.C", 3)]


def test_no_script_stands_beside_a_folder_of_a_packages_name() -> None:
    """Python puts the folder of a script, and what it asks for, in front of what is installed."""
    scripts = [
        path
        for top in ("tests", "examples", "experiments")
        for path in (rooms.ROOT / top).rglob("*.py")
        if "__main__" in path.read_text(encoding="utf-8") and "test_" not in path.name
    ]
    assert len(scripts) >= 10
    for folder in {path.parent for path in scripts} | {rooms.ROOT / "tests" / "support"}:
        hidden = [name for name in FLOORS if (folder / name).exists()]
        assert not hidden, f"{folder} hides {hidden}"
