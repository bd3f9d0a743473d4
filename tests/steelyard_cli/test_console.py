"""What the commands say while they work."""

import pytest

from steelyard_cli.view import console
from steelyard_cli.view.console import duration, progress, steps_of


def test_steps_count_from_one_and_the_end_is_no_step():
    said = []
    step = steps_of(lambda done, now: said.append((done, now)))
    for number, name in enumerate(("conv1", "conv2", "done")):
        step(number, 2, name)
    assert said == [(0, "conv1, 1 of 2"), (1, "conv2, 2 of 2"), (2, "done")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.4, "59 s"), (60, "1 min"), (3569, "59 min"), (3600, "1 h 0 min"),
     (9000, "2 h 30 min")],
)  # fmt: skip
def test_times_are_said_in_words(seconds, text):
    assert duration(seconds) == text


def test_long_work_says_how_much_time_is_left(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with progress("running", 8) as update:
        for done in range(9):
            update(done, "images")
            now[0] += 15
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "running: 12 %, images, about 2 min left"
    assert lines[5] == "running: 75 %, images, about 30 s left"
    assert lines[-1] == "running: 100 %, images"
