"""Copies of layers within an area: the most images a second, against trying all of them."""

from itertools import product

import numpy as np
import pytest

from steelyard.cost import Copies, Work, frontier, most_images, one_copy, pipeline_of
from steelyard.network import Conv
from steelyard.network.random import random_network

SEEDS = range(30)


def drawn(seed, layers=3):
    """Pipeline of a few convolutions, with random times and areas."""
    network = random_network(seed, kinds=("conv",), layers=layers, max_pixels=24, max_channels=2)
    rng = np.random.default_rng(seed)
    works = {}
    for layer in network.layers:
        pixels = int(np.prod(network.tensor(layer.output).shape[1:]))
        slowest = rng.integers(1, 9, (2, pixels))
        # Crossbars that wait for each other take longer than the busiest of them.
        mean = max(1, round(float(slowest.mean() * rng.uniform(0.7, 1))))
        works[layer.name] = Work(
            mean, slowest, float(rng.integers(1, 9)), float(rng.choice([0, 1, 4]))
        )
    return pipeline_of(network), works


def rounds(work, count, shared):
    """Ticks of all rounds of an image, pixel by pixel."""
    images, pixels = work.pixels.shape
    if not shared:
        return -(-pixels // count) * work.mean
    begins = range(0, pixels, count)
    total = sum(max(own[begin : begin + count].tolist()) for own in work.pixels for begin in begins)
    return len(begins) * max(work.mean, -(-total // (len(begins) * images)))


def every(works, budget):
    """Interval and area of all copies, with an index each or one for all, within a budget."""
    options = []
    for work in works.values():
        own = []
        for count in range(1, int(budget // work.crossbars) + 1):
            own.append((rounds(work, count, False), count * (work.crossbars + work.index)))
            if count > 1:
                own.append((rounds(work, count, True), count * work.crossbars + work.index))
        options.append([(time, area) for time, area in own if area <= budget])
    for chosen in product(*options):
        area = sum(own for _, own in chosen)
        if area <= budget:
            yield max(time for time, _ in chosen), area


def least(works):
    """Area of one copy of each layer."""
    return sum(work.crossbars + work.index for work in works.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_no_other_copies_in_an_area_are_faster(seed):
    pipeline, works = drawn(seed)
    alone = least(works)
    for budget in (alone - 1, alone, alone + 5, 1.7 * alone, 2.4 * alone):
        found = most_images(pipeline, works, 0.0, budget)
        intervals = [interval for interval, _ in every(works, budget)]
        if not intervals:
            assert found is None and budget < alone
            continue
        area = 0.0
        for name, own in found.choices.items():
            indices = 1 if own.shared else own.copies.count
            area += own.copies.count * works[name].crossbars + indices * works[name].index
        assert found.area == area <= budget
        assert found.schedule.interval == min(intervals)


def test_some_copies_share_an_index_and_some_do_not():
    shared = set()
    for seed in SEEDS:
        pipeline, works = drawn(seed)
        chosen = most_images(pipeline, works, 0.0, 3 * least(works)).choices.values()
        shared |= {own.shared for own in chosen if own.copies.count > 1}
    assert shared == {False, True}


def test_copies_that_may_not_share_have_an_index_each():
    pipeline, works = drawn(4)
    apart = {
        name: Work(own.mean, own.pixels, own.crossbars, 50.0, share_index=False)
        for name, own in works.items()
    }
    found = most_images(pipeline, apart, 0.0, 3 * least(apart))
    assert not any(own.shared for own in found.choices.values())
    assert any(own.copies.count > 1 for own in found.choices.values())
    together = {
        name: Work(own.mean, own.pixels, own.crossbars, 50.0) for name, own in works.items()
    }
    better = most_images(pipeline, together, 0.0, 3 * least(apart))
    assert better.schedule.interval < found.schedule.interval


@pytest.mark.parametrize("seed", SEEDS)
def test_each_step_is_faster(seed):
    pipeline, works = drawn(seed)
    intervals = [
        pipeline.interval({name: own.copies for name, own in step.items()})
        for step in frontier(pipeline, works)
    ]
    assert intervals == sorted(set(intervals), reverse=True)
    # In the end the bottleneck does all its pixels at a time.
    assert intervals[-1] == max(work.mean for work in works.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_larger_area_never_gives_fewer_images(seed):
    pipeline, works = drawn(seed, layers=5)
    alone = one_copy(pipeline, works, 0.25)
    assert {own.copies.count for own in alone.choices.values()} == {1}
    last = alone.schedule.interval
    for budget in np.linspace(alone.area, 6 * alone.area, 25):
        found = most_images(pipeline, works, 0.25, budget)
        assert found.area <= budget
        assert found.schedule.interval <= last
        last = found.schedule.interval
    assert last < alone.schedule.interval


def test_buffers_take_their_part_of_the_area():
    pipeline, works = drawn(2)
    budget = 4 * least(works)
    free = most_images(pipeline, works, 0.0, budget)
    dear = most_images(pipeline, works, 0.5, budget)
    assert dear.area == sum(own.area for own in dear.choices.values()) + (0.5 * dear.schedule.bytes)
    assert dear.area <= budget
    assert dear.schedule.interval > free.schedule.interval
    assert most_images(pipeline, works, 100.0, budget) is None


def test_layers_without_work_are_not_copied_but_take_their_area():
    network = random_network(1, kinds=("conv",), layers=2, max_pixels=24, max_channels=2)
    idle, busy = (layer.name for layer in network.layers if isinstance(layer, Conv))
    pixels = int(np.prod(network.tensor(network.output).shape[1:]))
    nothing = Work(0, np.zeros((1, 9), np.int64), 5.0, 0.0)
    works = {idle: nothing, busy: Work(3, np.full((1, pixels), 3), 1.0, 0.0)}
    pipeline = pipeline_of(network)
    found = most_images(pipeline, works, 0.0, 8.0)
    assert found.choices[idle].copies == Copies(1, 0)
    assert found.choices[busy].copies.count > 1
    assert found.area == 5 + found.choices[busy].copies.count
    (only,) = frontier(pipeline, {idle: nothing})
    assert only[idle].copies == Copies(1, 0)
