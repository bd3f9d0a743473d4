"""Sources that decide what a module of this project makes, found by reading them, not by a list.

Imports are followed from file to file. A package's ``__init__`` counts only where it defines what
is asked of it; where it hands on a name, the module that it takes the name from counts, so that the
gateware does not depend on all that stands beside what it uses.
"""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

__all__ = ["sources"]

OWN = "steelyard"
"""Beginning of the names of this project's packages."""


def sources(*modules: str) -> dict[str, Path]:
    """Files of modules and of all that they import of this project, by dotted name, sorted.

    Nothing is imported. Imports inside functions count as well.

    Parameters
    ----------
    modules : dotted names

    Raises
    ------
    ModuleNotFoundError
        If a module of this project is imported that is not there.
    """
    reader = _Reader()
    for name in modules:
        reader.add(name)
    return dict(sorted(reader.found.items()))


class _Reader:
    """Walk over the imports.

    Members
    -------
    found : files by dotted name
    """

    def __init__(self) -> None:
        self.found: dict[str, Path] = {}
        self._trees: dict[Path, ast.Module] = {}

    def add(self, name: str) -> None:
        """Take a module and what it imports."""
        if name in self.found:
            return
        path = _locate(name)
        if path is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        self.found[name] = path
        for module, wanted in _imports(self._tree(path), _package(name, path)):
            if wanted is None:
                self.add(module)
            else:
                self._add_from(module, wanted)

    def _add_from(self, module: str, wanted: str) -> None:
        """Take what ``from module import wanted`` needs."""
        path = _locate(module)
        if path is not None and path.name == "__init__.py":
            for source, name, bound in _bindings(self._tree(path), module):
                if bound != wanted:
                    continue
                if not source.startswith(OWN):
                    return
                # ``from . import name`` of the package itself means its module.
                if source != module:
                    self._add_from(source, name)
                    return
            if _locate(f"{module}.{wanted}") is not None:
                module = f"{module}.{wanted}"
        self.add(module)

    def _tree(self, path: Path) -> ast.Module:
        if path not in self._trees:
            self._trees[path] = ast.parse(path.read_bytes())
        return self._trees[path]


def _locate(name: str) -> Path | None:
    """File of a module, without importing its package; None if there is none."""
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest and spec.origin is not None:
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        below = Path(folder, *rest)
        for path in (below / "__init__.py", below.with_name(f"{below.name}.py")):
            if path.is_file():
                return path
    return None


def _package(name: str, path: Path) -> str:
    """Package that relative imports of a module start from."""
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """Dotted name of the module that an import takes names from."""
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    base = parents[: len(parents) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _imports(tree: ast.Module, package: str) -> Iterator[tuple[str, str | None]]:
    """Modules of this project that a file imports, with the name taken from each, None for all."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith(OWN):
                    yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, package)
            if module.startswith(OWN):
                for alias in node.names:
                    yield module, None if alias.name == "*" else alias.name


def _bindings(tree: ast.Module, package: str) -> Iterator[tuple[str, str, str]]:
    """Names that a package hands on: the module they come from, their name there, and here."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield _absolute(node, package), alias.name, alias.asname or alias.name
