"""Copies of layers within an area: the most images a second, against trying all of them."""

from itertools import product

import numpy as np
import pytest

from steelyard.cost import frontier, most_images, one_copy, pipeline_of
from steelyard.network import Conv
from steelyard.network.random import random_network

SEEDS = range(30)


def drawn(seed, layers=3):
    """Pipeline of a few convolutions with random times, and an area of each one's copy."""
    network = random_network(seed, kinds=("conv",), layers=layers, max_pixels=24, max_channels=2)
    rng = np.random.default_rng(seed)
    names = [layer.name for layer in network.layers if isinstance(layer, Conv)]
    times = {name: int(rng.integers(1, 9)) for name in names}
    areas = {name: float(rng.integers(1, 9)) for name in names}
    return pipeline_of(network, times), areas


def every(pipeline, areas, budget):
    """All copies whose area is within a budget."""
    names = [stage.name for stage in pipeline.working]
    ranges = [range(1, int(budget // areas[name]) + 1) for name in names]
    for many in product(*ranges):
        if sum(areas[name] * own for name, own in zip(names, many, strict=True)) <= budget:
            yield dict(zip(names, many, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_other_copies_in_an_area_are_faster(seed):
    pipeline, areas = drawn(seed)
    least = sum(areas.values())
    for budget in (least - 1, least, least + 5, 2 * least, 3 * least):
        found = most_images(pipeline, areas, 0.0, budget)
        intervals = [pipeline.interval(copies) for copies in every(pipeline, areas, budget)]
        if not intervals:
            assert found is None and budget < least
            continue
        assert found.area == sum(areas[name] * many for name, many in found.copies.items())
        assert found.area <= budget
        assert found.schedule.interval == pipeline.interval(found.copies) == min(intervals)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_step_is_faster_and_has_the_fewest_copies(seed):
    pipeline, _ = drawn(seed)
    steps = list(frontier(pipeline))
    intervals = [pipeline.interval(copies) for copies in steps]
    assert intervals == sorted(set(intervals), reverse=True)
    # In the end the bottleneck does all its pixels at a time.
    assert intervals[-1] == max(stage.time for stage in pipeline.working)
    for copies, before in zip(steps[1:], intervals, strict=False):
        for stage in pipeline.working:
            fewer = copies[stage.name] - 1
            if fewer:
                assert -(-stage.pixels // fewer) * stage.time >= before


@pytest.mark.parametrize("seed", SEEDS)
def test_a_larger_area_never_gives_fewer_images(seed):
    pipeline, areas = drawn(seed, layers=5)
    alone = one_copy(pipeline, areas, 0.25)
    assert set(alone.copies.values()) == {1}
    last = alone.schedule.interval
    for budget in np.linspace(alone.area, 6 * alone.area, 25):
        found = most_images(pipeline, areas, 0.25, budget)
        assert found.area <= budget
        assert found.schedule.interval <= last
        last = found.schedule.interval
    assert last < alone.schedule.interval


def test_buffers_take_their_part_of_the_area():
    pipeline, areas = drawn(2)
    free = most_images(pipeline, areas, 0.0, 40.0)
    dear = most_images(pipeline, areas, 0.5, 40.0)
    crossbars = sum(areas[name] * many for name, many in dear.copies.items())
    assert dear.area == crossbars + 0.5 * dear.schedule.bytes <= 40
    assert dear.schedule.interval > free.schedule.interval
    assert most_images(pipeline, areas, 100.0, 40.0) is None


def test_layers_without_work_are_not_copied_but_take_their_area():
    network = random_network(1, kinds=("conv",), layers=2, max_pixels=24, max_channels=2)
    idle, busy = (layer.name for layer in network.layers if isinstance(layer, Conv))
    found = most_images(pipeline_of(network, {busy: 3}), {idle: 5.0, busy: 1.0}, 0.0, 8.0)
    assert list(found.copies) == [busy] and found.copies[busy] > 1
    assert found.area == 5 + found.copies[busy]
    nothing = pipeline_of(network, {})
    assert list(frontier(nothing)) == [{}]
