"""Records: what was evaluated is not evaluated again, and nothing else is taken for it."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from steelyard.errors import UserError
from steelyard_boards import board
from steelyard_cli.bench import networks as bench
from steelyard_explore import Record, Variant, evaluate, explore, keep_largest, space_of
from steelyard_explore import search as searching
from steelyard_explore.evaluate import holds
from steelyard_explore.record import content_key, from_text, to_text

BOARD = board("ulx3s_25f")
COUNT = 150


@pytest.fixture(scope="module")
def variants():
    return [Variant(network=bench.reference(4))]


@pytest.fixture(scope="module")
def undisturbed(variants):
    return explore(variants, BOARD, count=COUNT, seed=7)


def test_what_is_known_is_not_computed_again(variants, undisturbed, tmp_path, monkeypatch):
    with Record(tmp_path / "new" / "r.sqlite") as record:
        first = explore(variants, BOARD, count=COUNT, seed=7, record=record)
        assert first.known == 0 and first.found == undisturbed.found

    def never(*arguments, **named):
        raise AssertionError("a process was started")

    monkeypatch.setattr(searching, "ProcessPoolExecutor", never)
    with Record(tmp_path / "new" / "r.sqlite") as record:
        again = explore(variants, BOARD, count=COUNT, seed=7, record=record)
    assert again.known == COUNT and again.found == undisturbed.found
    assert again.refused == undisturbed.refused


def test_another_draw_takes_what_it_shares(variants, tmp_path):
    with Record(tmp_path / "r.sqlite") as record:
        explore(variants, BOARD, count=COUNT, seed=7, record=record)
        larger = explore(variants, BOARD, count=4 * COUNT, seed=8, record=record)
        assert 0 < larger.known < COUNT
    assert larger.found == explore(variants, BOARD, count=4 * COUNT, seed=8).found


def test_a_result_holds_for_every_board_of_a_device():
    other = board("icesugar_pro")
    assert other.device == BOARD.device
    space = space_of(BOARD, bench.reference(4))
    configs = [space.config(number) for number in range(0, len(space), 97)]
    refusals = [holds(BOARD, config) for config in configs]
    assert "multipliers" in {each.reason for each in refusals if each}
    assert [holds(other, config) for config in configs] == refusals


def test_keys_tell_apart_whatever_decides_a_result():
    network = bench.reference(4)
    space = space_of(BOARD, network)
    other = replace(space, template=space.template.with_(accumulator_bits=26))
    smaller = replace(BOARD, device=replace(BOARD.device, block_rams=50))
    keys = [
        content_key(network, BOARD, space),
        content_key(keep_largest(bench.resnet8(4), 3), BOARD, space),
        content_key(bench.resnet8(4), BOARD, space),
        content_key(network, BOARD, other),
        content_key(network, smaller, space),
        content_key(network, BOARD, replace(space, choices=space.choices[:-1])),
    ]
    assert len(set(keys)) == len(keys)
    # The same content again, from other objects.
    assert content_key(bench.reference(4), BOARD, space_of(BOARD, bench.reference(4))) == keys[0]


def test_a_result_comes_back_as_it_was():
    network = bench.resnet8(4)
    target = board("ulx3s_85f")
    space = space_of(target, network)
    numbers = [n for n in range(0, len(space), 301) if holds(target, space.config(n)) is None]
    results = [evaluate(network, target, space.config(n), 1, n) for n in numbers]
    assert len(numbers) > 20
    for result in results:
        assert from_text(to_text(result), space) == result


def test_what_is_damaged_is_computed_again(variants, undisturbed, tmp_path):
    path = tmp_path / "r.sqlite"
    with Record(path) as record:
        explore(variants, BOARD, count=COUNT, seed=7, record=record)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE results SET result = substr(result, 2) WHERE rowid % 3 = 0")
    file.close()
    with Record(path) as record:
        again = explore(variants, BOARD, count=COUNT, seed=7, record=record)
    assert 0 < again.known < COUNT and again.found == undisturbed.found


def test_a_file_that_is_no_record_is_refused(tmp_path):
    path = tmp_path / "r.sqlite"
    path.write_text("no database, but long enough to look like one\n" * 100)
    with pytest.raises(UserError, match=r"^Record '.*' cannot be opened \(.*\); remove it, or"):
        Record(path)


def test_a_record_that_cannot_be_written_does_not_end_the_work(variants, undisturbed, tmp_path):
    with Record(tmp_path / "r.sqlite") as record:
        # As a full disk does.
        record._file.execute("PRAGMA max_page_count = 1")
        done = explore(variants, BOARD, count=COUNT, seed=7, record=record)
    assert "make room on its disk" in done.unkept
    assert done.found == undisturbed.found and not done.stopped


SCRIPT = """
import sys
from pathlib import Path
from steelyard_boards import board
from steelyard_cli.bench import networks as bench
from steelyard_explore import Record, Variant, explore

def main():
    def said(done, total, now):
        print(done, flush=True)
    with Record(Path(sys.argv[1])) as record:
        explore([Variant(network=bench.reference(4))], board("ulx3s_25f"), count=1500, seed=7,
                record=record, progress=said)

if __name__ == "__main__":
    main()
"""


def _processes(group: int) -> list[str]:
    """Living processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(path.parent.name)
    return found


def test_a_killed_exploration_goes_on_where_it_was(variants, tmp_path):
    script, path = tmp_path / "run.py", tmp_path / "r.sqlite"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = []
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, script, path], env=environment, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                done.append(int(line))
                if len(done) % 4 == 0:
                    break
            process.send_signal(signal.SIGKILL)
        # Its processes end without it.
        end = time.monotonic() + 10
        while _processes(process.pid) and time.monotonic() < end:
            time.sleep(0.1)
        assert not _processes(process.pid)
    with Record(path) as record:
        finished = explore(variants, BOARD, count=1500, seed=7, record=record)
    assert finished.known >= done[-1] > 0
    assert finished.known < finished.total == finished.evaluated
    assert finished.found == explore(variants, BOARD, count=1500, seed=7).found
