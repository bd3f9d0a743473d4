"""Work on a cluster: all of it, once, whoever is lost meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from cluster_tasks import double, kill, wait
from interrupts import interruptible
from steelyard.errors import UserError
from steelyard_explore.cluster import Cluster, Lost, Task


class Heard:
    """Results by the tasks' names; a second one of a task is a fault."""

    def __init__(self) -> None:
        self.results: dict[str, object] = {}

    def __call__(self, task: Task, result: object) -> None:
        assert task.name not in self.results
        self.results[task.name] = result


@pytest.fixture(scope="module")
def cluster():
    with Cluster(workers=2) as made:
        yield made


def test_all_tasks_are_done_once(cluster):
    heard = Heard()
    tasks = [Task(f"double {number}", double, (number,)) for number in range(300)]
    assert cluster.carry_out(tasks, heard) == ""
    assert heard.results == {f"double {number}": 2 * number for number in range(300)}


def test_killed_workers_lose_nothing(cluster):
    heard = Heard()

    def killing(task: Task, result: object) -> None:
        heard(task, result)
        if len(heard.results) == 3:
            for nanny in cluster._local.workers.values():
                os.kill(nanny.pid, signal.SIGKILL)

    tasks = [Task(f"wait {number}", wait, (0.3,)) for number in range(8)]
    assert cluster.carry_out(tasks, killing) == ""
    assert len(heard.results) == 8
    assert len(set(heard.results.values())) > 2


def test_a_task_that_its_workers_do_not_survive_is_lost_alone(cluster):
    heard = Heard()
    tasks = [Task("kill", kill, ()), *(Task(f"after {n}", double, (n,)) for n in range(4))]
    assert cluster.carry_out(tasks, heard) == ""
    lost = heard.results.pop("kill")
    assert isinstance(lost, Lost) and "workers were lost, one after the other" in lost.reason
    assert heard.results == {f"after {number}": 2 * number for number in range(4)}


def test_time_and_an_interrupt_end_it_at_once(tmp_path):
    with Cluster(workers=1) as own:
        tasks = [Task(f"long {n}", wait, (60.0, str(tmp_path / "mark"))) for n in range(3)]
        assert own.carry_out(tasks, Heard(), seconds=3) == "time"
        with interruptible():
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            begin = time.monotonic()
            again = [Task(f"long again {n}", wait, (60.0, "")) for n in range(3)]
            assert own.carry_out(again, Heard()) == "interrupted"
        # What nobody waits for ends by itself.
        while not (tmp_path / "mark").exists():
            assert time.monotonic() - begin < 4
            time.sleep(0.05)
        assert (tmp_path / "mark").read_text() == "unwanted"
    assert time.monotonic() - begin < 5


def test_a_scheduler_that_is_not_there_is_refused():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with Cluster(address) as none, pytest.MonkeyPatch.context() as patch:
        patch.setattr("steelyard_explore.cluster.CONNECT_SECONDS", 1)
        with pytest.raises(UserError, match="is not to be reached .*; start it with 'dask sched"):
            none.carry_out([Task("never", double, (1,))], Heard())
    with Cluster("nonsense://a:b") as none:
        with pytest.raises(UserError, match="Scheduler 'nonsense://a:b' is not to be reached"):
            none.carry_out([Task("never", double, (1,))], Heard())


def test_a_killed_scheduler_loses_nothing(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    started = []

    def start(*words: str) -> None:
        command = [sys.executable, "-m", "dask", *words]
        with open(tmp_path / "log", "a") as log:
            started.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
            )

    def start_all() -> None:
        start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        start("worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny")

    heard = Heard()

    def killing(task: Task, result: object) -> None:
        heard(task, result)
        if len(heard.results) == 2:
            started[0].kill()
            # Its workers end with it.
            start_all()

    start_all()
    try:
        with Cluster(address) as far:
            tasks = [Task(f"far {number}", time.sleep, (0.2,)) for number in range(6)]
            assert far.carry_out(tasks, killing) == ""
        assert len(heard.results) == 6
    finally:
        for process in started:
            process.kill()
            process.wait()
