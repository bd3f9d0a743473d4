"""Work of many processes, here or on other machines: Dask's distributed scheduler."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from steelyard.errors import UserError

__all__ = ["Cluster", "Lost", "Task", "Unwanted", "check_wanted", "scratch_folder"]

PATIENCE_SECONDS = 60
"""How long a scheduler that is lost may take to come back, and how long nothing may come of one
before it is asked whether it has workers."""
CONNECT_SECONDS = 10
CLOSE_SECONDS = 2
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Task:
    """Function that is called with arguments on some worker.

    Members
    -------
    name : tells it from all others; two of one name are the same
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Lost:
    """In a result's place: the workers that had a task were lost, one after the other."""

    reason: str


class Cluster:
    """Workers: processes of this machine, or all that a scheduler elsewhere has.

    Nothing is started before there is something to do.

    Parameters
    ----------
    scheduler : its address, such as ``tcp://host:8786``; None for this machine
    workers : processes on this machine

    Raises
    ------
    UserError
        If Dask is not installed.
    """

    def __init__(self, scheduler: str | None = None, workers: int = 2) -> None:
        try:
            import distributed
        except ImportError as error:
            raise UserError(
                "Synthesis, placement and other machines need the package 'distributed', which is "
                "not here; install it with \"pip install 'steelyard[explore]'\"."
            ) from error
        self._dask = distributed
        self._scheduler = scheduler
        self._workers = workers
        self._local: Any = None
        self._client: Any = None
        self._had = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def carry_out(
        self,
        tasks: Sequence[Task],
        done: Callable[[Task, Any], None],
        *,
        seconds: float | None = None,
        shared: Any = None,
    ) -> str:
        """Carry out tasks; why it ended before all were done, or nothing.

        A worker that is lost, or the scheduler, is no end: what they had is done again.

        Parameters
        ----------
        done : called with each task and its result, or :class:`Lost`, as they come
        seconds : after which it ends
        shared : first argument of all functions, sent to each worker once; None for none

        Returns
        -------
        ``"time"`` or ``"interrupted"``, else empty

        Raises
        ------
        UserError
            If the scheduler is not to be reached, or lost and does not come back.
        """
        end = None if seconds is None else time.monotonic() + seconds
        left = {task.name: task for task in tasks}
        try:
            while left:
                self._connect()
                try:
                    if self._go_through(left, done, end, shared):
                        return "time"
                except _Disconnected:
                    self._close()
        except KeyboardInterrupt:
            return "interrupted"
        return ""

    def _go_through(
        self, left: dict[str, Task], done: Callable[[Task, Any], None], end: float | None,
        shared: Any,
    ) -> bool:  # fmt: skip
        """Carry out what is left; whether the time ended first."""
        client = self._client
        first = () if shared is None else (client.scatter(shared, hash=False),)
        futures = {
            client.submit(each.function, *first, *each.arguments, key=name): name
            for name, each in left.items()
        }
        coming = self._dask.as_completed(
            futures, loop=client.loop, with_results=True, raise_errors=False
        )
        try:
            while left:
                batch = self._batch(coming, end)
                if not batch:
                    return True
                for future, result in batch:
                    task = left[futures[future]]
                    result = self._checked(future, result)
                    del left[task.name]
                    # The scheduler may forget it.
                    future.release()
                    done(task, result)
            return False
        finally:
            # What waits for them holds the others, which nobody wants any more.
            for future in futures:
                future.release()

    def _batch(self, coming: Any, end: float | None) -> list[tuple[Any, Any]]:
        """Futures that are done, with their results; none if the time ended first."""
        seen = time.monotonic()
        while not coming.has_ready():
            now = time.monotonic()
            if end is not None and now >= end:
                return []
            if self._client.status != "running":
                raise _Disconnected
            if self._local is None and now - seen > PATIENCE_SECONDS:
                self._check_workers()
                seen = now
            time.sleep(POLL_SECONDS)
        batch: list[tuple[Any, Any]] = coming.next_batch(block=False)
        return batch

    def _checked(self, future: Any, result: Any) -> Any:
        """Result of a future, or what became of its workers.

        Raises
        ------
        _Disconnected
            If it was cancelled, which only the loss of the scheduler does.
        """
        if future.status == "finished":
            return result
        if future.status != "error":
            raise _Disconnected
        _, error, trace = result
        if isinstance(error, self._dask.scheduler.KilledWorker):
            return Lost(
                f"{error.allowed_failures + 1} workers were lost, one after the other, while they "
                "had it; for want of memory maybe."
            )
        if isinstance(error, ImportError) or "deserializ" in str(error):
            raise UserError(
                f"Workers of the scheduler {self._scheduler!r}, or itself, have another version of "
                "Steelyard or of Dask; install the same wheel with the extra 'explore' there."
            )
        raise error.with_traceback(trace)

    def _connect(self) -> None:
        """Start workers here, or reach the scheduler elsewhere, unless that is done."""
        import dask

        if self._client is not None and self._client.status == "running":
            return
        self._close()
        # What it says of lost workers is for those who look after a cluster.
        for name in logging.root.manager.loggerDict:
            if name.split(".")[0] == "distributed":
                logging.getLogger(name).setLevel(logging.CRITICAL)
        if self._scheduler is None:
            # No worker has a task in store: it would be lost with one that does not survive.
            dask.config.set({"distributed.scheduler.worker-saturation": 1.0})
            self._local = self._dask.LocalCluster(
                n_workers=self._workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                # The tools' memory is not the workers' own.
                memory_limit=0,
            )
            self._client = self._dask.Client(self._local, set_as_default=False)
            self._client.register_plugin(_no_interrupts())
            return
        self._client = self._reached(CONNECT_SECONDS if not self._had else PATIENCE_SECONDS)
        self._had = True
        self._check_workers()

    def _reached(self, seconds: float) -> Any:
        """Client of the scheduler elsewhere."""
        try:
            return self._dask.Client(self._scheduler, timeout=seconds, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            what = "is lost" if self._had else "is not to be reached"
            raise UserError(
                f"Scheduler {self._scheduler!r} {what} ({_words(error)}); start it with 'dask "
                "scheduler' and repeat the command: what was done is recorded."
            ) from error

    def _check_workers(self) -> None:
        client, end = self._client, time.monotonic() + CONNECT_SECONDS
        while not client.scheduler_info()["workers"]:
            if time.monotonic() > end:
                raise UserError(
                    f"Scheduler {self._scheduler!r} has no workers; start some with 'dask worker "
                    f"{self._scheduler} --nthreads 1' and repeat the command."
                )
            time.sleep(POLL_SECONDS)

    def _close(self) -> None:
        """Let go of the client, and end workers of this machine at once, with their tools."""
        client, local, self._client, self._local = self._client, self._local, None, None
        if local is not None:
            for nanny in local.workers.values():
                # Else it starts another.
                nanny.close_gracefully()
                with contextlib.suppress(OSError, TypeError):
                    os.kill(nanny.pid, signal.SIGKILL)
        if client is not None:
            with contextlib.suppress(TimeoutError, OSError):
                client.close(timeout=CLOSE_SECONDS)
        if local is not None:
            with contextlib.suppress(TimeoutError, OSError):
                local.close(timeout=CLOSE_SECONDS)


class _Disconnected(Exception):
    """The scheduler was lost, and what it knew with it."""


class Unwanted(Exception):
    """Nobody waits for a task any more."""


def _words(error: BaseException) -> str:
    """An exception's text, or its name if it has none."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _no_interrupts() -> Any:
    """What makes workers leave an interrupt to the process that started them."""
    from distributed import WorkerPlugin

    class NoInterrupts(WorkerPlugin):
        name = "no-interrupts"

        def setup(self, worker: Any) -> None:
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    return NoInterrupts()


def check_wanted(line: str = "") -> None:
    """End a task that nobody waits for any more; called by the task itself, now and then.

    Raises
    ------
    Unwanted
        If it was cancelled, or whoever wanted it is gone.
    """
    from distributed.worker import get_worker, thread_state

    try:
        worker = get_worker()
    except ValueError:
        # No worker runs it.
        return
    task = worker.state.tasks.get(thread_state.key)
    if task is None or task.state == "cancelled":
        raise Unwanted


def scratch_folder() -> str | None:
    """Folder that a worker clears when it ends, or the next one does; None outside a worker."""
    from distributed.worker import get_worker

    try:
        return str(get_worker().local_directory)
    except ValueError:
        return None
