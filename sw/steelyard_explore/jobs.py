"""Jobs of the later stages: named by all that their results follow from, and done once."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steelyard.errors import UserError
from steelyard.progress import Progress

from .cluster import Cluster, Lost, Task
from .record import Record

__all__ = ["Job", "Jobs", "Result"]

DONE, NEVER, FAILED = "done", "never", "failed"


@dataclass(frozen=True)
class Result:
    """What became of a job.

    Members
    -------
    state : ``"done"``; ``"never"`` if it cannot be done, whoever tries; ``"failed"`` if it went
        wrong, which another time it may not
    values : what was found
    reason : why it is not done, a sentence
    made : files that other jobs begin with
    """

    state: str
    values: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    made: bytes = b""


@dataclass(frozen=True)
class Job:
    """Something to do.

    Members
    -------
    identity : all that the result follows from, as JSON holds it
    function : gives a :class:`Result`, on any machine
    arguments : of it
    """

    identity: Mapping[str, Any]
    function: Callable[..., Result]
    arguments: tuple[Any, ...]

    @property
    def text(self) -> str:
        """Its identity, the same for equal ones."""
        return json.dumps(self.identity, sort_keys=True)

    @property
    def key(self) -> str:
        """Hash of its identity."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass
class Jobs:
    """Does jobs on a cluster, but for those that a record knows.

    Members
    -------
    cluster : whose workers do them
    record : knows results, and receives them; None for none
    unkept : why no more are kept, or nothing
    known : how many were known
    """

    cluster: Cluster
    record: Record | None = None
    unkept: str = ""
    known: int = 0

    def carry_out(
        self,
        jobs: Sequence[Job],
        *,
        seconds: float | None = None,
        progress: Progress | None = None,
        what: str = "",
    ) -> tuple[dict[str, Result], str]:
        """Results by the jobs' keys, and why it ended before all were there, or nothing.

        Jobs that failed before are tried again.

        Parameters
        ----------
        seconds : after which it ends
        progress : called with jobs done, all of them, and what they do
        what : they do, in words
        """
        results: dict[str, Result] = {}
        by_key = {job.key: job for job in jobs}
        for key in by_key:
            result = self._recalled(key)
            if result is not None:
                results[key] = result
        self.known += len(results)

        def done(task: Task, result: Result | Lost) -> None:
            if isinstance(result, Lost):
                result = Result(FAILED, reason=f"It was not done: {result.reason}")
            results[task.name] = result
            self._keep(by_key[task.name], result)
            if progress is not None:
                progress(len(results), len(by_key), what)

        if progress is not None:
            progress(len(results), max(len(by_key), 1), what)
        tasks = [
            Task(key, job.function, job.arguments)
            for key, job in by_key.items()
            if key not in results
        ]
        stopped = self.cluster.carry_out(tasks, done, seconds=seconds) if tasks else ""
        return results, stopped

    def knows(self, job: Job) -> bool:
        """Whether the record has a result of a job that will not change."""
        return self._recalled(job.key) is not None

    def _recalled(self, key: str) -> Result | None:
        """What a record knows of a job and will not change."""
        known = None if self.record is None else self.record.job(key)
        if known is None or known[0] not in (DONE, NEVER):
            return None
        state, text, made = known
        try:
            values, reason = json.loads(text)
            return Result(state, dict(values), str(reason), made)
        except (ValueError, TypeError):
            # What is damaged is done again.
            return None

    def _keep(self, job: Job, result: Result) -> None:
        if self.record is None or self.unkept:
            return
        text = json.dumps([result.values, result.reason])
        try:
            self.record.put_job(job.key, job.text, result.state, text, result.made)
        except UserError as error:
            # What was found is worth more than its record.
            self.unkept = str(error)
