"""Runs documented commands and keeps what they measure in docs/figures, with the commit.

``python tests/figures/record.py bench`` runs the commands of docs/figures/bench.json again. The
documents' figures are compared with these files by test_figures.py.
"""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures"


@dataclass(frozen=True)
class Source:
    """Commands, and the files that they leave their figures in."""

    commands: tuple[str, ...]
    writes: tuple[str, ...]

    @property
    def command(self) -> str:
        """The commands as a line of a shell."""
        return " && ".join(self.commands)


CASES = (
    "reference 8x4",
    "reference 16x4",
    "vgg16_32 batch 1",
    "vgg16_32 batch 8",
    "vgg16_32 8x32",
    "resnet8",
    "resnet8 8x32",
    "vgg16_32 ulx3s_85f",
    "vgg16_224",
    "resnet18_224",
    "resnet18_224 8x32",
)
"""Cases of the benchmark of which the documents give figures."""


def _case_file(name: str) -> str:
    return f"build/bench/{name.replace(' ', '_')}.json"


SOURCES = {
    "bench": Source(
        tuple(f'steelyard bench --case "{name}" -o {_case_file(name)}' for name in CASES),
        tuple(map(_case_file, CASES)),
    ),
    "demo": Source(("steelyard demo -o build/demo",), ("build/demo/report.json",)),
    "pruning-curve": Source(
        ("python experiments/pruning_curve.py --output build/pruning-curve.json",),
        ("build/pruning-curve.json",),
    ),
    "demo-crossbar": Source(("make demo-crossbar",), ("build/demo-crossbar/report.json",)),
}


def read(name: str) -> dict[str, Any]:
    """A kept file: ``command``, ``commit``, and ``result`` with what it wrote by file name."""
    kept: dict[str, Any] = json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8"))
    return kept


def keep(name: str, commit: str) -> None:
    """Wrap what the command has written, and put it into docs/figures."""
    source = SOURCES[name]
    paths = [ROOT / each for each in source.writes]
    result = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    document = {"command": source.command, "commit": commit, "result": result}
    FIGURES.mkdir(exist_ok=True)
    temporary = FIGURES / f".{name}.json"
    # Where this machine keeps its data says nothing of the project.
    text = json.dumps(document, indent=1).replace(str(Path.home()), "~")
    temporary.write_text(text + "\n", encoding="utf-8")
    os.replace(temporary, FIGURES / f"{name}.json")


def git(*arguments: str) -> str:
    """What git says."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@click.command()
@click.argument("names", nargs=-1, required=True, type=click.Choice(list(SOURCES)))
def main(names: tuple[str, ...]) -> None:
    """Measure the documents' figures again.

    Exit status: 0 good, 1 a command fails or something is not committed, 2 the input is bad.
    """
    if git("status", "--porcelain", "--untracked-files=no").strip():
        sys.exit("Commit first: figures are kept with the commit that made them.")
    commit = git("rev-parse", "HEAD").strip()
    for name in names:
        for command in SOURCES[name].commands:
            subprocess.run(shlex.split(command), cwd=ROOT, check=True)
        keep(name, commit)


if __name__ == "__main__":
    main()
