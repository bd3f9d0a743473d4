"""Pipelines of layers: exact times and buffers, against a plain simulation tick by tick."""

import itertools

import numpy as np
import pytest

from steelyard.cost import Copies, pipeline_of
from steelyard.network import Conv, NetworkBuilder, ungroup
from steelyard.network.kinds import AvgPool, Concat, MaxPool, Slice
from steelyard.network.random import random_network

SEEDS = range(40)
IMAGES = 12
"""Enough for images to come out alike; the test says if they do not."""


def rows_of(layer, row, height):
    """Rows of an input that an output row reads, tap by tap."""
    if not isinstance(layer, Conv | MaxPool | AvgPool):
        return {row}
    first = row * layer.stride[0] - layer.padding[0]
    taps = layer.weight.shape[2] if isinstance(layer, Conv) else layer.kernel[0]
    return {first + tap for tap in range(taps)} & set(range(height))


class Worker:
    """A layer in the simulation: at most one round at a time, image by image."""

    def __init__(self, network, layer, time, copies):
        self.layer, self.time = layer, time
        _, self.height, self.width = network.tensor(layer.output).shape
        self.copies = copies if time else self.width
        self.inputs = {name: network.tensor(name).shape[1] for name in layer.inputs}
        self.image = self.pixel = self.left = 0
        self.busy = ()

    def next_rows(self):
        """Output rows of the next round."""
        last = min(self.pixel + self.copies, self.height * self.width) - 1
        return range(self.pixel // self.width, last // self.width + 1)

    def ready(self, there):
        """Whether every row of the next round's windows is there."""
        return all(
            (self.image, name, row) in there
            for name, height in self.inputs.items()
            for own in self.next_rows()
            for row in rows_of(self.layer, own, height)
        )

    def advance(self):
        """The round is over: rows that are complete by it."""
        end = min(self.pixel + self.copies, self.height * self.width)
        done = [
            (self.image, self.layer.output, row)
            for row in range(self.height)
            if self.pixel < (row + 1) * self.width <= end
        ]
        self.pixel = end
        if end == self.height * self.width:
            self.image, self.pixel = self.image + 1, 0
        return done


def simulate(network, times, copies, every, images=IMAGES):
    """When each image's last result is there, if all rows of an image come `every` ticks."""
    workers = [
        Worker(network, layer, times.get(layer.name, 0), copies.get(layer.name, 1))
        for layer in network.layers
    ]
    there, over, now = set(), {}, 0
    made = {layer.output for layer in network.layers}
    height = network.tensor(network.input).shape[1]
    wanted = {name: network.tensor(name).shape[1] for name in made}
    while len(over) < images:
        if now % every == 0 and now // every < images:
            there |= {(now // every, network.input, row) for row in range(height)}
        for worker in workers:
            if worker.left:
                worker.left -= 1
                if not worker.left:
                    there |= set(worker.advance())
        # What takes no time passes on in this very tick, and may feed the next layer in it.
        for worker in workers:
            while not worker.time and worker.image < images and worker.ready(there):
                there |= set(worker.advance())
            if worker.time and not worker.left and worker.image < images and worker.ready(there):
                worker.left = worker.time
        for image in range(images):
            if image not in over and all(
                (image, name, row) in there for name, many in wanted.items() for row in range(many)
            ):
                over[image] = now
        now += 1
    return [over[image] for image in range(images)]


def choice(times, copies=None):
    """Copies with the times of their rounds, by default one."""
    return {name: Copies((copies or {}).get(name, 1), time) for name, time in times.items()}


def planned(network, times, copies=None):
    """Schedule of a network's pipeline."""
    return pipeline_of(network).schedule(choice(times, copies))


def drawn(seed):
    """A random network, a time for each convolution, and copies."""
    kinds = ("conv", "max_pool", "avg_pool", "add", "fc")[: 5 if seed % 3 else 4]
    network = random_network(seed, kinds=kinds, layers=6, max_pixels=36, max_channels=3)
    rng = np.random.default_rng(seed)
    names = [layer.name for layer in network.layers if isinstance(layer, Conv)]
    times = {name: int(rng.integers(1, 5)) for name in names}
    return network, times, {name: int(rng.integers(1, 6)) for name in names}


@pytest.mark.parametrize("seed", SEEDS)
def test_interval_and_latency_are_those_of_a_plain_simulation(seed):
    network, times, copies = drawn(seed)
    schedule = planned(network, times, copies)
    interval = pipeline_of(network).interval(choice(times, copies))
    ends = simulate(network, times, copies, interval)
    found = [end - image * interval for image, end in enumerate(ends)]
    assert found[-1] == found[-2] == schedule.latency
    # Images that wait at the door from the beginning leave no faster.
    ends = simulate(network, times, copies, 1, images=30)
    assert ends[-1] - ends[-2] == interval == schedule.interval


@pytest.mark.parametrize("seed", SEEDS)
def test_a_schedule_keeps_every_rule_and_its_buffers_hold_what_waits(seed):
    network, times, copies = drawn(seed)
    schedule = planned(network, times, copies)
    replay(network, times, copies, schedule)


def depthwise():
    """Slices, convolutions beside each other, a concatenation, and a residual addition."""
    rng = np.random.default_rng(1)
    builder = NetworkBuilder("branches", (4, 9, 5))
    first = builder.conv(rng.integers(1, 9, (4, 4, 3, 3)).astype(np.int8), padding=1)
    builder.conv(rng.integers(1, 9, (4, 1, 3, 3)).astype(np.int8), padding=1, groups=4)
    builder.add(first, builder.last.name)
    builder.conv(rng.integers(1, 9, (3, 4, 3, 3)).astype(np.int8), stride=2)
    return ungroup(builder.network(), 2, 2)


def test_channels_that_are_joined_or_parted_wait_once():
    network = depthwise()
    convs = [layer.name for layer in network.layers if isinstance(layer, Conv)]
    times = {name: 2 + number for number, name in enumerate(convs)}
    assert any(isinstance(layer, Slice) for layer in network.layers)
    for many in (1, 2, 7):
        copies = dict.fromkeys(convs, many)
        schedule = planned(network, times, copies)
        replay(network, times, copies, schedule)
        for layer in network.layers:
            if isinstance(layer, Slice | Concat):
                assert schedule.waiting[layer.output] == 0


def in_place(network, layer):
    """Whether elements stay where they are, or take the places of those they are made of."""
    if not isinstance(layer, MaxPool | AvgPool):
        return isinstance(layer, Concat | Slice)
    alone = sum(layer.inputs[0] in other.inputs for other in network.layers) == 1
    pixel = (layer.kernel, layer.stride, layer.padding) == ((1, 1), (1, 1), (0, 0, 0, 0))
    return pixel and alone and layer.inputs[0] not in network.outputs


def replay(network, times, copies, schedule):
    """Walk through a schedule tick by tick: no rule is broken, and `waiting` is what waits."""
    interval, images = schedule.interval, 2 + schedule.latency // schedule.interval
    complete, reading, begun = {}, {}, {}
    for layer in network.layers:
        worker = Worker(network, layer, times.get(layer.name, 0), copies.get(layer.name, 1))
        own = schedule.starts[layer.name].tolist()
        for start, after in itertools.pairwise(own):
            assert start + worker.time <= after
        if worker.time:
            assert own[-1] + worker.time <= own[0] + interval
        for start in own:
            for row in worker.next_rows():
                begun.setdefault((layer.output, row), start)
                for name, height in worker.inputs.items():
                    for read in rows_of(layer, row, height):
                        assert name == network.input or complete[name, read] <= start
                        begun.setdefault((name, read), start)
                        # The row is read until the output row is complete.
                        reading.setdefault((name, read), []).append((layer, row))
            for _, name, row in worker.advance():
                complete[name, row] = start + worker.time
        assert worker.image == 1
    assert max(complete.values()) == schedule.latency
    placed = {layer.name for layer in network.layers if in_place(network, layer)}

    def until(name, row):
        ends = [begun[name, row]]
        for layer, own in reading.get((name, row), ()):
            ends.append(complete[layer.output, own])
            if layer.name in placed:
                ends.append(until(layer.output, own))
        return max(ends)

    middle = range((images - 1) * interval, images * interval)
    moved = {layer.output for layer in network.layers if layer.name in placed}
    for name, tensor in network.tensors.items():
        held = [
            (begun[name, row], until(name, row))
            for row in range(tensor.shape[1])
            if (name, row) in begun and name not in moved
        ]
        most = max(
            sum(
                begin <= tick - image * interval < end
                for begin, end in held
                for image in range(images)
            )
            for tick in middle
        )
        assert schedule.waiting[name] == most * tensor.shape[0] * tensor.shape[2], name


@pytest.mark.parametrize("seed", SEEDS)
def test_buffers_hold_at_least_the_rows_of_a_window(seed):
    network, times, copies = drawn(seed)
    least = pipeline_of(network).least_bytes(times)
    assert 0 < least <= planned(network, times, copies).bytes


def chain(*layers, size=(8, 6)):
    """Convolutions of so many rows, with padding, stride and a time for a pixel."""
    builder = NetworkBuilder("chain", (1, *size))
    times = {}
    for kernel, padding, stride, time in layers:
        weight = np.ones((1, 1, kernel, kernel), np.int8)
        name = builder.conv(weight, padding=padding, stride=stride)
        times[builder.layers[-1].name] = time
        assert name
    return builder.network(), times


def test_the_fill_is_the_rows_of_the_first_windows():
    network, times = chain((3, 1, 1, 5), (3, 1, 1, 5))
    schedule = planned(network, times)
    # 8 rows of 6 pixels; the second layer begins when two rows are there, as its first row
    # reads a row of padding.
    assert schedule.interval == 8 * 6 * 5
    assert schedule.latency == (2 + 8) * 6 * 5
    # Three rows are read and one is being made: the first one of the next image as well.
    assert schedule.waiting[network.layers[0].output] == 4 * 6


def test_an_image_waits_for_the_one_before_it():
    builder, names = NetworkBuilder("late", (1, 8, 1)), []
    for kernel, padding, stride in ((1, 0, 1), (3, 2, 1), (3, 0, 4)):
        weight = np.ones((1, 1, kernel, kernel), np.int8)
        builder.conv(weight, padding=padding, stride=stride)
        names.append(builder.layers[-1].name)
    network, times = builder.network(), dict(zip(names, (15, 4, 60), strict=True))
    copies = dict.fromkeys(names, 1)
    schedule = planned(network, times, copies)
    # The second layer makes 10 rows of 12 ticks, three of them after the last row of the first
    # layer is there at 120. It is over at 156, so it begins at 36 for the image before, at 72 the
    # third layer has its first three rows, and works for 120.
    assert simulate(network, times, copies, 120)[0] == 57 + 120
    assert schedule.latency == 72 + 120
    ends = simulate(network, times, copies, 120)
    assert ends[-1] - 120 * (IMAGES - 1) == schedule.latency


def test_rows_are_pooled_as_soon_as_they_are_there():
    builder = NetworkBuilder("pooled", (1, 8, 6))
    weight = np.ones((1, 1, 3, 3), np.int8)
    first = builder.conv(weight, padding=1)
    pooled = builder.max_pool(2, stride=2)
    builder.conv(weight, padding=1)
    convs = [layer.name for layer in builder.layers if isinstance(layer, Conv)]
    network = builder.network()
    schedule = planned(network, dict(zip(convs, (5, 1), strict=True)))
    # A row and the one that is being made; of the pooled rows those of one window.
    assert schedule.waiting[first] == 2 * 6
    assert schedule.waiting[pooled] == 3 * 3


def test_copies_work_on_pixels_of_several_rows():
    network, times = chain((1, 0, 1, 7), size=(3, 5))
    (name,) = times
    for copies, rounds in ((1, 15), (2, 8), (4, 4), (7, 3), (15, 1), (20, 1)):
        schedule = planned(network, times, {name: copies})
        assert schedule.interval == schedule.latency == 7 * rounds


def test_one_layer_at_a_time_takes_the_sum_and_one_memory():
    network, times = chain((3, 1, 1, 5), (3, 1, 2, 4), (1, 0, 1, 3))
    schedule = pipeline_of(network).in_turn(choice(times))
    assert schedule.latency == schedule.interval == 48 * 5 + 12 * 4 + 12 * 3
    # At the end of the first layer: its map, and two rows of the input that its last window reads.
    assert schedule.bytes == 48 + 2 * 6


def test_crossbars_with_nothing_to_do_take_no_time():
    network, times = chain((3, 1, 1, 0), (3, 1, 1, 0))
    pipeline = pipeline_of(network)
    for schedule in (pipeline.schedule({}), pipeline.in_turn(choice(times))):
        assert schedule.interval == schedule.latency == 0
