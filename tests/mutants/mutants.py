"""Mutants: one small mistake at a time in a copy of the sources, which a named test must notice.

``hardware.toml``, ``external.toml`` and ``software.toml`` list them. A mutant that no test kills is
a hole in the tests, unless its entry argues that it changes nothing that anybody can see.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from random import Random

import click

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
LISTS = ("hardware", "external", "software")
COPIED = ("sw", "hw", "sim", "boards", "tests", "pyproject.toml")
TARGET = 0.98
"""Share of the mutants not argued equivalent that must be killed."""
LIMIT_SECONDS = 300
PASSED, FAILED, INTERRUPTED = 0, 1, 2
"""Exit statuses of pytest; 2 if a mutant cannot even be imported."""


class MutantError(Exception):
    """List of mutants that does not fit the sources, or a test that fails without a mutant."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One mistake.

    Members
    -------
    kind : the list that names it
    file : path below the root
    original : text that stands in the file exactly once
    replacement : text in its place
    tests : what pytest is to run
    equivalent : why nothing can notice it; then it has no tests and is not run
    """

    kind: str
    file: str
    original: str
    replacement: str
    tests: tuple[str, ...] = ()
    equivalent: str = ""

    @property
    def name(self) -> str:
        """File and change in one line."""
        was, new = (" ".join(text.split()) for text in (self.original, self.replacement))
        return f"{self.file}: {was!r} -> {new!r}"

    def applied(self, text: str) -> str:
        """The file's text with the mistake.

        Raises
        ------
        MutantError
            If the original text does not stand there exactly once.
        """
        found = text.count(self.original)
        if found != 1:
            raise MutantError(
                f"{self.name}: the original text stands {found} times in the file, not once; "
                "follow the source in the list of mutants."
            )
        return text.replace(self.original, self.replacement)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a mutant."""

    mutant: Mutant
    killed: bool
    by: str
    """Test that failed, ``import`` or ``time``; empty if none did."""
    seconds: float


def load(root: Path = ROOT) -> list[Mutant]:
    """All mutants of the lists, each with its place in the sources checked.

    Raises
    ------
    MutantError
        If an original text is gone or ambiguous, or an entry is listed twice.
    """
    mutants: list[Mutant] = []
    for kind in LISTS:
        document = tomllib.loads((HERE / f"{kind}.toml").read_text(encoding="utf-8"))
        for entry in document["mutant"]:
            tests = tuple(entry.pop("tests", ()))
            mutants.append(Mutant(kind=kind, tests=tests, **entry))
    for mutant in mutants:
        mutant.applied((root / mutant.file).read_text(encoding="utf-8"))
        if bool(mutant.tests) == bool(mutant.equivalent):
            raise MutantError(f"{mutant.name}: give tests, or say why it is equivalent.")
    if len({(each.file, each.original, each.replacement) for each in mutants}) < len(mutants):
        raise MutantError("A mutant is listed twice.")
    return mutants


class Tree:
    """Copy of the sources in which one mutant at a time is made."""

    def __init__(self, root: Path, target: Path) -> None:
        self._target = target
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".pytest_cache")
        for name in COPIED:
            source = root / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=ignored)
            else:
                shutil.copy(source, target / name)

    def run(self, mutant: Mutant, limit: float) -> Result:
        """Result of a mutant's tests; afterwards the copy is as before."""
        path = self._target / mutant.file
        text = path.read_text(encoding="utf-8")
        began = time.monotonic()
        path.write_text(mutant.applied(text), encoding="utf-8")
        try:
            status, out = self.pytest(mutant.tests, limit)
        finally:
            path.write_text(text, encoding="utf-8")
        killed_by = {PASSED: "", FAILED: _failed(out), INTERRUPTED: "import", None: "time"}
        if status not in killed_by:
            raise MutantError(f"{mutant.name}: pytest ended with {status}:\n{out[-2000:]}")
        by = killed_by[status]
        seconds = round(time.monotonic() - began, 1)
        return Result(mutant=mutant, killed=bool(by), by=by, seconds=seconds)

    def pytest(self, tests: Sequence[str], limit: float) -> tuple[int | None, str]:
        """Exit status and output of tests in this copy; None for the status after `limit`."""
        paths = [str(self._target / name) for name in ("sw", "hw", "sim", "boards")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            # A mutant of the same size in the same second would pass for the module before it.
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
            cwd=self._target,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            out, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return None, ""
        return process.returncode, out


def _failed(out: str) -> str:
    """First test that failed, as pytest's summary names it."""
    lines = (line.split() for line in out.splitlines())
    names = [parts[1] for parts in lines if len(parts) > 1 and parts[0] in ("FAILED", "ERROR")]
    return names[0] if names else "a test"


def run(mutants: Sequence[Mutant], jobs: int, limit: float) -> list[Result]:
    """Results of all mutants, `jobs` at a time, each in a copy of the sources.

    Raises
    ------
    MutantError
        If the tests fail without a mutant.
    """
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees: SimpleQueue[Tree] = SimpleQueue()
        for number in range(jobs):
            trees.put(Tree(ROOT, Path(folder) / str(number)))

        def one(mutant: Mutant) -> Result:
            tree = trees.get()
            try:
                result = tree.run(mutant, limit)
            finally:
                trees.put(tree)
            verdict = "killed" if result.killed else "SURVIVED"
            click.echo(f"{verdict:8} {result.seconds:6.1f} s  {mutant.name}")
            return result

        def sound(tests: tuple[str, ...]) -> None:
            tree = trees.get()
            try:
                status, out = tree.pytest(tests, limit)
            finally:
                trees.put(tree)
            if status != PASSED:
                raise MutantError(f"{' '.join(tests)} fails without a mutant:\n{out[-2000:]}")

        with ThreadPoolExecutor(jobs) as pool:
            # A test that fails anyhow would kill everything.
            list(pool.map(sound, sorted({mutant.tests for mutant in mutants})))
            return list(pool.map(one, mutants))


def summary(mutants: Sequence[Mutant], results: Sequence[Result]) -> dict[str, dict[str, int]]:
    """Numbers of mutants by list: killed, survived, equivalent."""
    return {
        kind: {
            "killed": sum(each.killed for each in results if each.mutant.kind == kind),
            "survived": sum(not each.killed for each in results if each.mutant.kind == kind),
            "equivalent": sum(bool(each.equivalent) for each in mutants if each.kind == kind),
        }
        for kind in LISTS
    }


@click.command()
@click.option("--sample", type=click.IntRange(min=1), help="Number of mutants drawn at random.")
@click.option("--seed", type=int, default=1, help="Of the draw.")
@click.option("--only", default="", help="Mutants whose file or change contains this text.")
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1)
@click.option("--limit", type=float, default=LIMIT_SECONDS, help="Seconds for a mutant's tests.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("build/mutants.json"),
    help="File of the results.",
)
def main(sample: int | None, seed: int, only: str, jobs: int, limit: float, output: Path) -> None:
    """Make mutants of the sources and see whether the tests notice; 98 % must be killed."""
    began = time.monotonic()
    try:
        mutants = [each for each in load() if only in each.name]
        chosen = [each for each in mutants if not each.equivalent]
        if sample is not None and sample < len(chosen):
            chosen = Random(seed).sample(chosen, sample)
        if not chosen:
            raise MutantError(f"No mutant contains {only!r}; give a part of a file's name.")
        results = run(chosen, jobs, limit)
    except MutantError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    minutes = (time.monotonic() - began) / 60
    counts = summary(mutants, results)
    document = {
        "minutes": round(minutes, 1),
        "seed": seed if sample is not None else None,
        "counts": counts,
        "mutants": [asdict(each) for each in results],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_suffix(".partial")
    temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, output)
    for kind, count in counts.items():
        words = ", ".join(f"{number} {what}" for what, number in count.items())
        click.echo(f"{kind}: {words}")
    share = sum(each.killed for each in results) / len(results)
    click.echo(f"{share:.1%} killed, {minutes:.1f} minutes")
    sys.exit(0 if share >= TARGET else 1)


if __name__ == "__main__":
    main()
