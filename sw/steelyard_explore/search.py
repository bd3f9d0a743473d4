"""All configurations of a space, evaluated by several processes."""

import contextlib
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from steelyard.errors import UserError
from steelyard.network import Network
from steelyard.progress import Progress
from steelyard_boards import Board
from steelyard_boards.board import MHZ

from .cluster import Cluster, Lost, Task
from .evaluate import Point, Refusal, evaluate, holds
from .record import Record, content_key, from_text, to_text
from .space import Space, space_of

__all__ = ["Exploration", "Found", "Variant", "explore"]

PART = 48
"""Configurations that a process takes at a time: less than a second of work."""
RESTARTS = 3
"""Times that a process may be lost."""
WORKERS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant:
    """A network as it is, or with fewer weights.

    Members
    -------
    network : what is planned
    k : weights kept of each 16; None for the network as it is
    accuracy : its share of right answers; None if that is not known
    """

    network: Network
    k: int | None = None
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A configuration that runs a network on a board, with what it reaches there.

    Members
    -------
    board : the board's name
    clock_hz : its clock, at which the configuration is taken to run
    k, accuracy : of the network, see :class:`Variant`
    fmax_mhz, fmax_error : highest clock that a placement reaches, an estimate, and the share within
        which nine of ten are of such estimates; None where the family has no law of it
    """

    point: Point
    board: str
    clock_hz: int
    k: int | None = None
    accuracy: float | None = None
    fmax_mhz: float | None = None
    fmax_error: float | None = None

    @property
    def misses_clock(self) -> bool:
        """Whether the estimated clock lies below the board's by more than its error."""
        if self.fmax_mhz is None or self.fmax_error is None:
            return False
        return self.fmax_mhz * (1 + self.fmax_error) * MHZ < self.clock_hz

    @property
    def frames_per_second(self) -> float:
        """Images a second, without transfers."""
        return self.clock_hz / self.point.cycles * self.point.batch

    @property
    def latency_s(self) -> float:
        """From the start of a batch to its end, without transfers."""
        return self.point.cycles / self.clock_hz


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """What was found for a board.

    Members
    -------
    board : what was explored
    space : its configurations
    found : those that run the network, in the order of variants, batches and numbers
    refused : how many do not, by the reason, with a sentence on the first
    evaluated, total : configurations that were planned, and that were to be
    known : how many of these a record knew
    stopped : ``"time"`` or ``"interrupted"`` if that are not all, else empty
    unkept : why what was found is not in the record, else empty
    """

    board: Board
    space: Space
    found: tuple[Found, ...]
    refused: Mapping[str, tuple[int, str]]
    evaluated: int
    total: int
    known: int = 0
    stopped: str = ""
    unkept: str = ""


_Key = tuple[int, int, int]
"""Variant, batch and number of a configuration."""
_Results = list[Point | Refusal]
"""What became of a configuration, for each size of its memory of partial sums."""


@dataclass(frozen=True)
class _Job:
    """Configurations of one variant and batch."""

    variant: int
    batch: int
    numbers: tuple[int, ...]

    @property
    def keys(self) -> list[_Key]:
        return [(self.variant, self.batch, number) for number in self.numbers]


@dataclass
class _Work:
    """What every process knows."""

    networks: tuple[Network, ...]
    board: Board
    space: Space


@dataclass
class _Tally:
    """Results so far.

    Members
    -------
    results : of each configuration
    total : configurations that are wanted
    kept : what keeps results, with the contents of the variants; None for nothing
    unkept : why no more are kept, or nothing
    progress : see :func:`explore`
    """

    total: int
    kept: tuple[Record, Sequence[str]] | None = None
    progress: Progress | None = None
    results: dict[_Key, _Results] = field(default_factory=dict)
    unkept: str = ""
    _found: int = 0

    def name(self, key: _Key) -> str:
        """How the record calls a configuration."""
        assert self.kept is not None
        variant, batch, number = key
        return f"{self.kept[1][variant]} {batch} {number}"

    def recall(self, wanted: Sequence[_Key], space: Space) -> None:
        """Take over what is known."""
        if self.kept is None:
            return
        names = {self.name(key): key for key in wanted}
        for name, text in self.kept[0].get(names).items():
            with contextlib.suppress(ValueError, TypeError, UserError):
                # What is damaged is computed again.
                self.results[names[name]] = from_text(text, space)
        self._found = sum(isinstance(e, Point) for every in self.results.values() for e in every)

    def add(self, job: _Job, results: Sequence[_Results]) -> None:
        """Take in what a process found."""
        fresh = dict(zip(job.keys, results, strict=True))
        self.results |= fresh
        self._found += sum(isinstance(each, Point) for every in results for each in every)
        if self.kept is not None and not self.unkept:
            try:
                self.kept[0].put({self.name(key): to_text(each) for key, each in fresh.items()})
            except UserError as error:
                # The exploration is worth more than its record.
                self.unkept = str(error)
        if self.progress is not None:
            self.progress(len(self.results), self.total, f"{self._found:,} run it")


def explore(
    variants: Sequence[Variant],
    board: Board,
    *,
    batches: Sequence[int] = (1,),
    count: int | None = None,
    seed: int = 0,
    seconds: float | None = None,
    workers: int = WORKERS,
    cluster: Cluster | None = None,
    record: Record | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Evaluate all configurations of a board for a network, or some drawn evenly.

    The same arguments give the same result, unless time or the user ends it.

    Parameters
    ----------
    variants : the network, and what is left of it with fewer weights; the first decides the space
    batches : images computed together, each tried
    count : configurations to draw, of those that the board holds without their memories; None for
        all
    seed : of the draw, and of the order of work
    seconds : after which no more work is begun; what is known then is the result
    workers : processes of this machine
    cluster : does the work in their place, if given
    record : knows what was evaluated before, and receives what is; None for none
    progress : called with configurations done, those in all, and how many run the network

    Raises
    ------
    UserError
        If the board's engine cannot be explored, or no configuration runs the network's layers.
    """
    end = None if seconds is None else time.monotonic() + seconds
    space = space_of(board, variants[0].network, min(batches))
    numbers, refused = _held(space, board)
    pairs = [(variant, batch) for variant in range(len(variants)) for batch in batches]
    wanted = [(pair, number) for pair in pairs for number in numbers]
    draw = random.Random(seed)
    if count is not None and count < len(wanted):
        wanted = [wanted[place] for place in sorted(draw.sample(range(len(wanted)), count))]
    keys = [(*pair, number) for pair, number in wanted]
    kept = None
    if record is not None:
        kept = record, [content_key(each.network, board, space) for each in variants]
    tally = _Tally(len(keys), kept, progress)
    tally.recall(keys, space)
    known = len(tally.results)
    jobs = list(_parts([key for key in keys if key not in tally.results]))
    # What is known early should speak for the whole space.
    draw.shuffle(jobs)
    work = _Work(tuple(each.network for each in variants), board, space)
    if cluster is None:
        stopped = _run(jobs, work, tally, end, workers)
    else:
        stopped = _clustered(jobs, work, tally, end, cluster)
    found: list[Found] = []
    for key in keys:
        variant = variants[key[0]]
        for each in tally.results.get(key, ()):
            if isinstance(each, Refusal):
                count_so_far, sentence = refused.get(each.reason, (0, each.sentence))
                refused[each.reason] = count_so_far + 1, sentence
                continue
            found.append(
                Found(
                    point=each,
                    board=board.name,
                    clock_hz=board.clock_hz,
                    k=variant.k,
                    accuracy=variant.accuracy,
                    fmax_mhz=board.device.fmax_of(each.config),
                    fmax_error=board.device.family.fmax_error,
                )
            )
    return Exploration(
        board=board,
        space=space,
        found=tuple(found),
        refused=dict(sorted(refused.items())),
        evaluated=len(tally.results),
        total=len(keys),
        known=known,
        stopped=stopped,
        unkept=tally.unkept,
    )


def _held(space: Space, board: Board) -> tuple[list[int], dict[str, tuple[int, str]]]:
    """Numbers of configurations that a board holds with the least memories; why not the others."""
    numbers: list[int] = []
    refused: dict[str, tuple[int, str]] = {}
    for number in range(len(space)):
        try:
            refusal = holds(board, space.config(number))
        except UserError as error:
            refusal = Refusal("fields", str(error))
        if refusal is None:
            numbers.append(number)
            continue
        known, sentence = refused.get(refusal.reason, (0, refusal.sentence))
        refused[refusal.reason] = known + 1, sentence
    return numbers, refused


def _parts(keys: Sequence[_Key]) -> Iterator[_Job]:
    """Work in parts, each of one variant and batch and of neighbours in the space."""
    start = 0
    while start < len(keys):
        own = keys[start][:2]
        part = [key[2] for key in keys[start : start + PART] if key[:2] == own]
        yield _Job(*own, tuple(part))
        start += len(part)


def _run(
    jobs: Sequence[_Job],
    work: _Work,
    tally: _Tally,
    end: float | None,
    workers: int,
) -> str:
    """Carry out jobs into `tally`; why it ended before all were done, or nothing."""
    for _ in range(RESTARTS + 1):
        left = [job for job in jobs if job.keys[0] not in tally.results]
        if not left:
            return ""
        try:
            return _pooled(left, work, tally, end, workers)
        except BrokenProcessPool:
            # A process was killed, for want of memory maybe; others take over what it had.
            continue
        except KeyboardInterrupt:
            return "interrupted"
    raise UserError(
        f"Processes were lost {RESTARTS + 1} times while configurations were evaluated; free some "
        "memory, or take fewer processes with --workers."
    )


def _clustered(
    jobs: Sequence[_Job], work: _Work, tally: _Tally, end: float | None, cluster: Cluster
) -> str:
    """Carry out jobs on a cluster; why it ended before all were done, or nothing."""
    content = f"{time.time_ns()} {os.getpid()}"
    tasks = {
        f"plan {content} {number}": Task(f"plan {content} {number}", _evaluate_all, (job,))
        for number, job in enumerate(jobs)
    }
    by_name = dict(zip(tasks, jobs, strict=True))

    def done(task: Task, results: list[_Results] | Lost) -> None:
        if isinstance(results, Lost):
            raise UserError(f"Configurations were not evaluated: {results.reason}")
        tally.add(by_name[task.name], results)

    left = None if end is None else max(end - time.monotonic(), 0.0)
    return cluster.carry_out(list(tasks.values()), done, seconds=left, shared=work)


def _pooled(
    jobs: Sequence[_Job],
    work: _Work,
    tally: _Tally,
    end: float | None,
    workers: int,
) -> str:
    """Carry out jobs in processes; ``"time"`` if that ended first, else nothing."""
    # A forked child of a process that runs threads may hang, so children start afresh.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(work,))
    waiting = iter(jobs)
    under_way: dict[Future[list[_Results]], _Job] = {}
    try:
        while True:
            # A few ahead, so that little is under way when it must end.
            while len(under_way) < 2 * workers and (job := next(waiting, None)) is not None:
                under_way[pool.submit(_evaluate, job)] = job
            if not under_way:
                return ""
            left = None if end is None else max(end - time.monotonic(), 0.0)
            done, _ = wait(under_way, timeout=left, return_when=FIRST_COMPLETED)
            for each in done:
                tally.add(under_way.pop(each), each.result())
            if end is not None and time.monotonic() >= end:
                return "time"
    finally:
        pool.shutdown(cancel_futures=True)


_WORK: _Work | None = None


def _begin(work: _Work) -> None:
    """Take over what a process needs to know; an interrupt is the main process's."""
    global _WORK
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_main, daemon=True).start()
    _WORK = work


def _end_with_main() -> None:
    """End this process when the main one is killed, which would have told it to."""
    main = multiprocessing.parent_process()
    assert main is not None  # The pool starts it.
    main.join()
    os._exit(1)


def _evaluate(job: _Job) -> list[_Results]:
    """Results of each configuration of a job, in a process that began with its work."""
    assert _WORK is not None
    return _evaluate_all(_WORK, job)


def _evaluate_all(work: _Work, job: _Job) -> list[_Results]:
    """Results of each configuration of a job."""
    network, board, space = work.networks[job.variant], work.board, work.space
    return [
        evaluate(network, board, space.config(number), job.batch, number) for number in job.numbers
    ]
