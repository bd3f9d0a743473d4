"""What the commands say while they work."""

import pytest

from steelyard_cli.view import console
from steelyard_cli.view.console import activity, duration, progress


@pytest.fixture
def now(monkeypatch):
    """The time of the commands, in a list."""
    time = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: time[0])
    return time


def test_steps_of_stages_count_from_one_and_the_end_is_no_step(now, capsys):
    with progress("pruning") as update:
        for number, name in enumerate(("conv1", "conv2", "done")):
            now[0] += 15
            update(number, 2, name)
    assert capsys.readouterr().err.splitlines() == [
        "pruning: at work, conv1, 1 of 2",
        "pruning: at work, conv2, 2 of 2",
        "pruning: at work, done",
    ]


def test_work_without_steps_says_what_it_is_at(now, capsys):
    with activity("building") as log:
        now[0] += 15
        log("synthesis")
    assert capsys.readouterr().err == "building: at work, synthesis\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.4, "59 s"), (60, "1 min"), (3569, "59 min"), (3600, "1 h 0 min"),
     (9000, "2 h 30 min")],
)  # fmt: skip
def test_times_are_said_in_words(seconds, text):
    assert duration(seconds) == text


def test_long_work_says_how_much_time_is_left(now, capsys):
    with progress("running", 8) as update:
        for done in range(9):
            update(done, 8, "images")
            now[0] += 15
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "running: 12 %, images, about 2 min left"
    assert lines[5] == "running: 75 %, images, about 30 s left"
    assert lines[-1] == "running: 100 %, images"
