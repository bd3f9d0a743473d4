"""Jobs: done once, whatever is killed, and failures recorded with their reason."""

import json
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from cluster_tasks import counted, failing
from steelyard_explore import Cluster, Jobs, Record
from steelyard_explore.jobs import Job

COUNT = 12


class Here:
    """A cluster that is this process."""

    def carry_out(self, tasks, done, **ignored):
        for task in tasks:
            done(task, task.function(*task.arguments))
        return ""


def jobs_of(folder, function=counted, count=COUNT):
    return [Job({"number": n}, function, (n, str(folder))) for n in range(count)]


def lines(folder):
    """What was begun, a line for each time."""
    return (folder / "begun").read_text().split()


def test_what_is_done_is_not_done_again(tmp_path):
    jobs = jobs_of(tmp_path)
    with Record(tmp_path / "r.sqlite") as record:
        first, stopped = Jobs(Here(), record).carry_out(jobs)
        assert not stopped and len(lines(tmp_path)) == COUNT
        again = Jobs(Here(), record)
        assert again.carry_out(jobs)[0] == first and again.known == COUNT
        # Two of one identity are one job.
        assert Jobs(Here()).carry_out([*jobs[:2], *jobs_of(tmp_path)[:2]])[0].keys() == {
            job.key for job in jobs[:2]
        }
    assert len(lines(tmp_path)) == COUNT + 2
    assert (
        first[jobs[3].key].values == {"square": 9} and first[jobs[3].key].made == b"made 3 " * 1000
    )


def test_a_key_is_a_hash_of_the_identity_alone(tmp_path):
    one, other = Job({"a": 1, "b": [2]}, counted, ()), Job({"b": [2], "a": 1}, failing, (3,))
    assert one.key == other.key != Job({"a": 1, "b": [3]}, counted, ()).key


def test_failures_are_recorded_and_tried_again(tmp_path):
    with Record(tmp_path / "r.sqlite") as record:
        found, _ = Jobs(Here(), record).carry_out(jobs_of(tmp_path, failing, 3))
        assert {each.reason for each in found.values()} == {"It failed.", "It cannot be."}
        rows = record._file.execute("SELECT job, state, result FROM jobs").fetchall()
        assert sorted((json.loads(job)["number"], state) for job, state, _ in rows) == [
            (0, "never"), (1, "failed"), (2, "failed")
        ]  # fmt: skip
        again = Jobs(Here(), record)
        done, _ = again.carry_out(jobs_of(tmp_path, counted, 3))
        assert again.known == 1
        assert [done[job.key].state for job in jobs_of(tmp_path, counted, 3)] == [
            "never", "done", "done"
        ]  # fmt: skip
        assert sorted(lines(tmp_path)) == ["1", "2"]


def test_a_damaged_result_is_made_again(tmp_path):
    with Record(tmp_path / "r.sqlite") as record:
        jobs = Jobs(Here(), record)
        jobs.carry_out(jobs_of(tmp_path))
        with sqlite3.connect(tmp_path / "r.sqlite") as file:
            file.execute("UPDATE jobs SET result = substr(result, 2) WHERE rowid % 3 = 0")
        file.close()
        done, _ = jobs.carry_out(jobs_of(tmp_path))
    assert len(lines(tmp_path)) == COUNT + COUNT // 3
    assert [done[job.key].values["square"] for job in jobs_of(tmp_path)] == [
        n * n for n in range(COUNT)
    ]


def test_a_full_disk_does_not_end_the_work(tmp_path):
    with Record(tmp_path / "r.sqlite") as record:
        record._file.execute("PRAGMA max_page_count = 1")
        jobs = Jobs(Here(), record)
        done, _ = jobs.carry_out(jobs_of(tmp_path))
    assert "make room on its disk" in jobs.unkept and len(done) == COUNT


SCRIPT = """
import sys
from pathlib import Path
from cluster_tasks import counted
from steelyard_explore import Cluster, Jobs, Record
from steelyard_explore.jobs import Job

def main():
    folder = Path(sys.argv[1])
    jobs = [Job({"number": n}, counted, (n, str(folder), 0.2)) for n in range(12)]
    def said(done, total, now):
        print(done, flush=True)
    with Record(folder / "r.sqlite") as record, Cluster(workers=2) as cluster:
        Jobs(cluster, record).carry_out(jobs, progress=said)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("least", [3])
def test_a_killed_main_process_goes_on_where_it_was(tmp_path, least):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, script, tmp_path], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= least:
                break
        process.send_signal(signal.SIGKILL)
    with Record(tmp_path / "r.sqlite") as record:
        jobs = Jobs(Here(), record)
        done, _ = jobs.carry_out(jobs_of(tmp_path))
        assert jobs.known >= least
        count, kinds = record._file.execute(
            "SELECT count(*), count(DISTINCT key) FROM jobs"
        ).fetchone()
    # None is lost, none recorded twice; only what was under way was begun twice.
    assert count == kinds == COUNT
    assert set(lines(tmp_path)) == {str(n) for n in range(COUNT)}
    assert len(lines(tmp_path)) <= COUNT + 4
    assert [done[job.key].values["square"] for job in jobs_of(tmp_path)] == [
        n * n for n in range(COUNT)
    ]


def test_a_job_that_does_nothing_takes_ten_milliseconds_at_most():
    """Of some here; experiments/exploration.py --jobs does ten thousand."""
    jobs = [Job({"number": n}, counted, (n, None)) for n in range(300)]
    with Cluster(workers=1) as cluster:
        Jobs(cluster).carry_out(jobs[:1])
        before = os.times()
        Jobs(cluster).carry_out(jobs)
        after = os.times()
    # Of this process's own time: others may have the machine meanwhile.
    assert (after.user + after.system - before.user - before.system) / len(jobs) < 0.01
