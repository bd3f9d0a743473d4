"""Imports and sizes of the packages, read from their sources with ``ast``."""

import ast
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
Edge = tuple[str, str]


@dataclass(frozen=True)
class Import:
    """A name that a module imports.

    Members
    -------
    module : what is loaded
    name : what is taken of it, empty for the module itself
    late : whether this is inside a function
    line : where
    """

    module: str
    name: str
    late: bool
    line: int


def packages(root: Path = ROOT) -> dict[str, Path]:
    """Folder of each package that pyproject.toml installs."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    folders = project["tool"]["setuptools"]["package-dir"]
    return {name: root / folder for name, folder in folders.items()}


def sources(folders: Mapping[str, Path]) -> dict[str, Path]:
    """File of every module, by the module's name."""
    found = {}
    for package, folder in folders.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(name: str, path: Path) -> Iterator[Import]:
    """Imports of a module; those for the type checker alone are left out."""
    parent = name if path.stem == "__init__" else name.rpartition(".")[0]
    yield from _imports(ast.parse(path.read_text(encoding="utf-8")), parent, late=False)


def _imports(node: ast.AST, parent: str, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            for each in child.names:
                yield Import(each.name, "", late, child.lineno)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                above = parent.split(".")[: parent.count(".") + 2 - child.level]
                base = ".".join([*above, *filter(None, [child.module])])
            for each in child.names:
                yield Import(base, each.name, late, child.lineno)
        yield from _imports(child, parent, late or isinstance(child, ast.FunctionDef | ast.Lambda))


def edges(modules: Mapping[str, Path]) -> dict[Edge, Import]:
    """Modules that import others of ours, each with one import that does."""
    found: dict[Edge, Import] = {}
    for name, path in modules.items():
        for each in imports(name, path):
            inner = f"{each.module}.{each.name}"
            target = inner if inner in modules else each.module
            # Python loads the packages above a module before it.
            parts = target.split(".")
            for length in range(1, len(parts) + 1):
                loaded = ".".join(parts[:length])
                if loaded in modules and not f"{name}.".startswith(f"{loaded}."):
                    found.setdefault((name, loaded), each)
    return found


def room(module: str) -> str:
    """Room of a module: its package's folder, or itself beside these."""
    return ".".join(module.split(".")[:2])


def circles(pairs: Iterable[Edge]) -> list[list[str]]:
    """Groups of nodes, each reachable from all others of its group."""
    after: dict[str, set[str]] = {}
    for start, end in pairs:
        after.setdefault(start, set()).add(end)

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        queue = [start]
        while queue:
            fresh = after.get(queue.pop(), set()) - seen
            seen |= fresh
            queue += fresh
        return seen

    reached = {node: reach(node) for node in after}
    found = {
        tuple(sorted(other for other in ahead if node in reached.get(other, ())))
        for node, ahead in reached.items()
        if node in ahead
    }
    return [list(group) for group in sorted(found)]


def between_rooms(pairs: Iterable[Edge]) -> set[Edge]:
    """Imports of modules as imports of their rooms; a package's own face belongs to no room."""
    return {
        (room(start), room(end))
        for start, end in pairs
        if "." in start and "." in end and room(start) != room(end)
    }


def private(modules: Mapping[str, Path]) -> Iterator[str]:
    """Private names of other rooms that modules import, or take of an imported module."""
    for name, path in modules.items():
        foreign = set()
        for each in imports(name, path):
            if each.module.split(".")[0] not in modules or room(each.module) == room(name):
                continue
            for part in (*each.module.split("."), each.name):
                if part.startswith("_") and not part.startswith("__"):
                    yield f"{name} imports {part} of {each.module}"
            if f"{each.module}.{each.name}" in modules:
                foreign.add(each.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in foreign
                and node.attr.startswith("_")
            ):
                yield f"{name} takes {node.attr} of {node.value.id}"


def elaborates(modules: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    """Every ``elaborate`` with its lines."""
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                for each in node.body:
                    if isinstance(each, ast.FunctionDef) and each.name == "elaborate":
                        length = (each.end_lineno or 0) - each.lineno + 1
                        yield f"{name}.{node.name}", length
