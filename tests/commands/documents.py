"""Commands that the documents show: README, docs/, help texts, the scripts' own docstrings."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click

from steelyard_cli.app import COMMANDS, cli

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "docs/notes/*.md")
SCRIPTS = (
    "experiments/*.py", "sim/steelyard_sim/runs/*.py", "tests/fuzz/harness.py",
    "tests/cocotb/regression.py", "tests/mutants/*.py",
)  # fmt: skip
SPAN = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"^((?:[A-Z_]+=\S+ +)*)(make|steelyard|python3?) +(\S.*)$")
COMMENT = re.compile(r"\s+#.*$")
VARIABLE = re.compile(r'^ +([A-Z]+)="(.*)"$')
OPTION = re.compile(r"(?:^|[\s\[])(--?[a-z][a-z0-9-]*)(?:[ =]([^\s\]-][^\s\]]*))?")
NAMED = (
    "--engine", "--mapping", "--constraint", "--device", "--method", "--select", "--model",
    "--array", "--multiplier", "--accumulator", "--sim", "--bench", "SIM",
)  # fmt: skip
"""Options whose value is one of a few names; each that is shown has to be run."""


def shown() -> dict[str, list[str]]:
    """Every command that is shown, with the places where it is."""
    found: dict[str, list[str]] = {}
    for place, text in [*_pages(), *_helps(), *_docstrings()]:
        for command in commands(text):
            places = found.setdefault(command, [])
            if place not in places:
                places.append(place)
    return found


def commands(text: str) -> Iterator[str]:
    """Commands of a text: lines of indented or fenced code, and code within a line."""
    fenced, before, variables = False, "", dict[str, str]()
    for line in re.sub(r" *\\\n\s*", " ", text).splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        if match := VARIABLE.match(line):
            variables[match[1]] = match[2]
        if fenced or line.startswith("    "):
            pieces = [COMMENT.sub("", line.strip())]
        else:
            pieces = [piece.strip() for piece in SPAN.findall(line)]
        for piece in pieces:
            for name, value in variables.items():
                piece = piece.replace(f"${name}", value)
            if piece.startswith("... "):
                # The command before, with other options.
                piece = f"{before.partition(' --')[0]} {piece[4:]}"
            if _is_command(piece):
                before = " ".join(piece.split())
                yield before


def _is_command(text: str) -> bool:
    match = COMMAND.match(text)
    if not match:
        return False
    program, rest = match[2], match[3].split()
    if program == "make":
        return rest[0] in targets()
    if program == "steelyard":
        return rest[0] in COMMANDS
    # A sentence of a page may begin with the word.
    return rest[0] in ("-m", "-") or rest[0].endswith(".py")


def key(command: str) -> str:
    """Program of a command with its subcommand, target, module or script."""
    match = COMMAND.match(command)
    assert match, command
    words = match[3].split()
    return " ".join([match[2], *words[: 2 if words[0] == "-m" else 1]])


def options(command: str) -> set[str]:
    """Options of a command, variables of a make among them, named values behind theirs."""
    match = COMMAND.match(command)
    assert match, command
    found = OPTION.findall(match[3])
    if match[2] == "make":
        # What is quoted goes to a command that has entries of its own.
        plain = re.sub(r"'[^']*'", "''", match[3])
        found = re.findall(r"\b([A-Z_]+)=(\S+)", plain)
    made = set()
    for name, value in found:
        made.add(name)
        if name in NAMED and value:
            made.add(f"{name} {value.partition(':')[0]}")
    return made - {"-m"}


def targets() -> set[str]:
    """What the Makefile can make by name."""
    line = next(
        line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:")
    )
    return set(line.split()[1:])


def _pages() -> Iterator[tuple[str, str]]:
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def _helps() -> Iterator[tuple[str, str]]:
    yield "steelyard --help", _indented(cli)
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        yield f"steelyard {name} --help", _indented(command)


def _indented(command: click.Command) -> str:
    # Examples stand two columns in, behind a mark against filling of lines.
    return re.sub(r"^  ", "    ", command.help or "", flags=re.MULTILINE)


def _docstrings() -> Iterator[tuple[str, str]]:
    for pattern in SCRIPTS:
        for path in sorted(ROOT.glob(pattern)):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            functions = [each for each in tree.body if isinstance(each, ast.FunctionDef)]
            for text in map(ast.get_docstring, (tree, *functions)):
                text = re.sub(r"^  (?=\S)", "    ", text or "", flags=re.MULTILINE)
                yield str(path.relative_to(ROOT)), text.replace("``", "`")


if __name__ == "__main__":
    for command, places in shown().items():
        print(f"{command}    # {', '.join(places)}")
