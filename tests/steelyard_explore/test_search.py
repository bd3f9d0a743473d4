"""Explorations by several processes: the same result whatever happens to these."""

import os
import signal
import threading
import time

import pytest

from interrupts import interruptible
from steelyard.errors import UserError
from steelyard_boards import board
from steelyard_cli.bench import networks as bench
from steelyard_explore import Variant, conclude, explore, keep_largest
from steelyard_explore import search as searching

BOARD = board("ulx3s_25f")
COUNT = 150


@pytest.fixture(scope="module")
def variants():
    network = bench.reference(4)
    return [Variant(network=network), Variant(network=keep_largest(network, 2), k=2)]


@pytest.fixture(scope="module")
def undisturbed(variants):
    return explore(variants, BOARD, count=COUNT, batches=(1, 2), seed=7)


def test_the_same_arguments_give_the_same_result(variants, undisturbed):
    again = explore(variants, BOARD, count=COUNT, batches=(1, 2), seed=7, workers=1)
    assert again.found == undisturbed.found and again.refused == undisturbed.refused
    assert again.evaluated == again.total == COUNT and not again.stopped
    assert {(each.k, each.point.batch) for each in again.found} == {
        (None, 1), (None, 2), (2, 1), (2, 2)
    }  # fmt: skip


def test_another_seed_draws_others(variants, undisturbed):
    other = explore(variants, BOARD, count=COUNT, batches=(1, 2), seed=8, workers=1)
    assert other.found != undisturbed.found and other.total == COUNT


def test_what_is_counted_adds_up(undisturbed):
    space = undisturbed.space
    held = len(space) - undisturbed.refused["multipliers"][0]
    assert held > COUNT
    assert len(undisturbed.found) <= 2 * COUNT
    for _, sentence in undisturbed.refused.values():
        assert sentence


def test_time_ends_it_with_what_is_known(variants):
    begin = time.monotonic()
    done = explore(variants, BOARD, seconds=3, batches=tuple(range(1, 60)))
    assert done.stopped == "time" and 0 <= done.evaluated < done.total
    # The configurations that the board holds are counted before the clock is looked at.
    assert time.monotonic() - begin < 60


def test_a_killed_process_changes_nothing(variants, undisturbed, monkeypatch):
    killed = []

    def kill(done: int, total: int, now: str) -> None:
        if not killed:
            for child in searching.multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)
                killed.append(child.pid)

    done = explore(variants, BOARD, count=COUNT, batches=(1, 2), seed=7, progress=kill)
    assert killed
    assert done.found == undisturbed.found and done.refused == undisturbed.refused


def test_processes_that_are_lost_again_and_again_end_it(variants):
    def kill(done: int, total: int, now: str) -> None:
        for child in searching.multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(UserError, match="Processes were lost 4 times while"):
        explore(variants, BOARD, batches=(1, 2, 3, 4), progress=kill)


def test_an_interrupt_ends_it_with_what_is_known(variants):
    begun: list[float] = []

    def interrupt(done: int, total: int, now: str) -> None:
        if not begun:
            begun.append(time.monotonic())
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with interruptible():
        done = explore(variants, BOARD, batches=tuple(range(1, 30)), progress=interrupt)
    assert time.monotonic() - begun[0] < 5
    assert done.stopped == "interrupted"
    assert 0 < done.evaluated < done.total
    assert done.found
    assert conclude(variants[0].network, [done]).front
