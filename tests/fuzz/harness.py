"""Runs the command line on files that nobody would hand in, within bounds of time and memory.

A fuzzer is a function that makes case N of a seed. All cases run in this process's forks, a chunk
of them in each, so that imports are paid once and a crash costs one case. Each case must end in
success or in exit status 2 with one sentence, or a list of them.
``python tests/fuzz/NAME.py --help`` runs a fuzzer.
"""

import faulthandler
import importlib
import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

CPU_SECONDS = 10
"""Processor time of a case; the clock on the wall would measure the machine's other work."""
WALL_SECONDS = 60
"""After which a case that waits for something counts as hanging."""
MEMORY_BYTES = 2 << 30
"""Address space of a case beyond what the imported modules take."""
CHUNK = 50
MOST_DETAIL = 8000
"""Characters of what a fault says that are kept."""
MORE_SECONDS = 2
"""Processor time in which a case that is over its limit may still say where it is."""


@dataclass(frozen=True)
class Case:
    """Files in an otherwise empty current folder, and a command line."""

    name: str
    """What was done, for the report."""
    files: Mapping[str, bytes]
    arguments: Sequence[str]


@dataclass(frozen=True)
class Verdict:
    """How a case ended: ``success``, ``refused`` or ``fault``."""

    number: int
    name: str
    kind: str
    detail: str
    """The sentence of a refusal, or what is wrong."""
    seconds: float
    """Processor time."""
    megabytes: float
    """Most memory that the process has held so far."""


Make = Callable[[int], Case]
Run = Callable[[list[str]], object]


class TooLong(BaseException):
    """Raised in a case that is over its processor time; no handler of errors takes it."""


def fuzz(make: Make, numbers: Sequence[int], run: Run | None = None) -> Iterator[Verdict]:
    """Verdict on every case of these numbers.

    Parameters
    ----------
    make : case of a number, always the same; called in the fork
    run : command line as a function of its arguments; ``steelyard_cli.main`` unless given
    """
    left = list(numbers)
    while left:
        done = 0
        for verdict in _chunk(make, left[:CHUNK], run or _steelyard):
            done += 1
            yield verdict
        left = left[done:]


def _steelyard(arguments: list[str]) -> object:
    from steelyard_cli import main

    return main(arguments)


def _chunk(make: Make, numbers: Sequence[int], run: Run) -> Iterator[Verdict]:
    """Verdicts of one fork, until it ends or is ended."""
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        os.close(read)
        _work(make, numbers, run, write)
    os.close(write)
    try:
        with os.fdopen(read, "rb") as answers:
            yield from _verdicts(make, numbers, answers, process)
    finally:
        # Nobody may be left over when the caller stops early.
        if os.waitpid(process, os.WNOHANG) == (0, 0):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _verdicts(
    make: Make, numbers: Sequence[int], answers: BinaryIO, process: int
) -> Iterator[Verdict]:
    for number in numbers:
        ready, _, _ = select.select([answers], [], [], WALL_SECONDS)
        line = answers.readline() if ready else b""
        if line:
            yield Verdict(number, *json.loads(line))
            continue
        why = f"no end after {WALL_SECONDS} s"
        if ready:
            status = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
            why = f"the process ended with {signal.Signals(status.si_status).name}"
        yield Verdict(number, make(number).name, "fault", why, 0.0, 0.0)
        return


def _work(make: Make, numbers: Sequence[int], run: Run, write: int) -> None:
    """Runs cases in the fork, and ends it."""
    try:
        faulthandler.disable()
        signal.signal(signal.SIGXCPU, _too_long)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            with (
                open(1, "w", closefd=False) as sys.stdout,
                open(2, "w", closefd=False) as sys.stderr,
                open(os.devnull) as sys.stdin,
            ):
                for number in numbers:
                    answer = _judge(make(number), run, log)
                    os.write(write, f"{json.dumps(answer)}\n".encode())
    except BaseException:
        # The case could not be made, or left something that the fork cannot go on with.
        answer = ("?", "fault", traceback.format_exc(), 0.0, 0.0)
        os.write(write, f"{json.dumps(answer)}\n".encode())
    finally:
        os._exit(0)


def _too_long(*_: object) -> None:
    raise TooLong


def _limit(seconds: float) -> None:
    """Bounds of this process from now on."""
    used = time.process_time()
    end = int(used + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))


def _judge(case: Case, run: Run, log: BinaryIO) -> tuple[str, str, str, float, float]:
    # What was said while the case was made is not the case's.
    sys.stdout.flush()
    sys.stderr.flush()
    log.seek(0)
    log.truncate()
    folder = tempfile.mkdtemp()
    start = time.process_time()
    try:
        os.chdir(folder)
        for name, content in case.files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(content)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        _limit(CPU_SECONDS)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            status, raised = _status(case, run)
    finally:
        _limit(1 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        os.chdir("/")
        shutil.rmtree(folder)
    seconds = time.process_time() - start
    log.seek(0)
    text = log.read().decode(errors="replace")
    kind, detail = _kind(status, raised, text, [str(each.message) for each in heard])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return case.name, kind, detail[-MOST_DETAIL:], seconds, used


def _status(case: Case, run: Run) -> tuple[int, str]:
    """Exit status of a case; what it raised instead."""
    try:
        run(list(case.arguments))
    except SystemExit as leaving:
        code = leaving.code
        return (code, "") if isinstance(code, int) else (0 if code is None else 1, "")
    except TooLong:
        _limit(MORE_SECONDS)
        return 0, f"over {CPU_SECONDS} s of processor time\n{_where()}"
    except BaseException:
        _limit(MORE_SECONDS)
        return 0, traceback.format_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0, ""


def _where() -> str:
    return "".join(traceback.format_exc().splitlines(keepends=True)[-6:])


def _kind(status: int, raised: str, text: str, heard: list[str]) -> tuple[str, str]:
    if raised:
        return "fault", raised
    if heard:
        return "fault", f"warning: {heard[0]}"
    if "Traceback" in text or "Warning" in text or "WARNING" in text:
        return "fault", text
    if status == 0:
        return "success", ""
    lines = text.splitlines()
    sentences = [line for line in lines if line.startswith("error: ")]
    if len(sentences) == 1 and sentences[0].endswith(" reasons:"):
        # All obstacles of a network, each with a line behind that one.
        listed = lines[lines.index(sentences[0]) + 1 :]
        good = len(listed) > 1 and all(each[:2] == "- " and each[-1] == "." for each in listed)
        sentences = [f"{sentences[0]} {listed[0]}"] if good else []
    if status != 2 or len(sentences) != 1 or not sentences[0].endswith("."):
        return "fault", f"exit status {status}: {text}"
    return "refused", sentences[0]


def main(
    make: Callable[[int, int], Case], count: int, description: str, imports: Sequence[str] = ()
) -> None:
    """Command line of a fuzzer; exit status 1 if a case ended in a fault.

    Parameters
    ----------
    make : case of a seed and a number
    count : cases unless the command line says otherwise
    imports : modules to import before the forks
    """

    @click.command(help=description)
    @click.option("--count", type=int, default=count, show_default=True, help="Cases.")
    @click.option("--seed", type=int, default=0, show_default=True)
    @click.option("--only", type=int, metavar="N", help="One case, with what it said.")
    @click.option(
        "--keep",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Write the faults' files there.",
    )
    def command(count: int, seed: int, only: int | None, keep: Path | None) -> None:
        for name in ("steelyard_cli.app", *imports):
            importlib.import_module(name)
        faults = _report(
            make, seed, range(count) if only is None else [only], keep, only is not None
        )
        sys.exit(1 if faults else 0)

    command()


def _report(
    make: Callable[[int, int], Case],
    seed: int,
    numbers: Sequence[int],
    keep: Path | None,
    always: bool,
) -> int:
    """Print the faults, or `always` every verdict, and a summary.

    Returns
    -------
    number of faults
    """
    start, slowest, memory = time.monotonic(), 0.0, 0.0
    found, by_change = Counter[str](), defaultdict[str, Counter[str]](Counter)
    for verdict in fuzz(lambda number: make(seed, number), numbers):
        found[verdict.kind] += 1
        for change in {each.strip() for each in re.split("[,;]", verdict.name)}:
            by_change[change][verdict.kind] += 1
        slowest, memory = max(slowest, verdict.seconds), max(memory, verdict.megabytes)
        if verdict.kind == "fault" or always:
            print(f"case {verdict.number} ({verdict.name}): {verdict.kind}\n{verdict.detail}")
            if keep:
                _keep(keep / str(verdict.number), make(seed, verdict.number))
    print(f"{'change or command':24}{'ran':>8}{'refused':>9}{'faults':>8}")
    for change, ends in sorted(by_change.items()):
        print(f"{change:24}{ends['success']:8}{ends['refused']:9}{ends['fault']:8}")
    print(
        f"seed {seed}: {len(numbers)} cases, {found['success']} ran, "
        f"{found['refused']} refused, {found['fault']} faults; at most {slowest:.1f} CPU-s and "
        f"{memory:.0f} MiB; {time.monotonic() - start:.0f} s in all"
    )
    return found["fault"]


def _keep(folder: Path, case: Case) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in case.files.items():
        (folder / name).write_bytes(content)
    (folder / "arguments").write_text(" ".join(case.arguments) + "\n")
