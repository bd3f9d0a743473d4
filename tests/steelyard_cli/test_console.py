"""What the commands say while they work."""

from steelyard_cli.console import steps_of


def test_steps_count_from_one_and_the_end_is_no_step():
    said = []
    step = steps_of(lambda done, now: said.append((done, now)))
    for number, name in enumerate(("conv1", "conv2", "done")):
        step(name, number, 2)
    assert said == [(0, "conv1, 1 of 2"), (1, "conv2, 2 of 2"), (2, "done")]
