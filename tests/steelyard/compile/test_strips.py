"""A layer's pixels, computed a strip at a time, are those of the whole layer."""

from dataclasses import replace

import numpy as np
import pytest

from steelyard.compile import Descriptor, compile
from steelyard.compile.strips import cut, row_unit
from steelyard.contract import configure
from steelyard.network import NetworkBuilder, golden
from steelyard.network.random import random_conv, random_input
from strip_machine import StripMachine

CONFIG = configure(
    "array", lanes=8, columns=6, group=8, requantizers=4, window_groups=8,
    activation_words=8192, weight_words=1 << 14, parameter_words=1024, max_layers=64,
    external_words=1 << 16,
)  # fmt: skip


def pooled(rng, kind, kernel, stride, padding, size):
    net = NetworkBuilder("pooled", (3, *size))
    if kind == "max_pool":
        net.max_pool(kernel=kernel, stride=stride, padding=padding)
    else:
        net.avg_pool(kernel=kernel, stride=stride)
    return net.network()


def in_strips(program, x, height, words):
    """The layer's output, each strip read from rows of its own that nothing else lies beside.

    Parameters
    ----------
    height : rows of a strip at least
    words : in place of rows, 0 for none
    """
    config, lanes = program.config, program.config.engine.lanes
    machine = StripMachine(program)
    machine.write(program.input, x)
    source, output = program.input, program.layers[0].output
    lay = machine.activations.copy()
    found = np.zeros((output.shape[0], output.pitch, lanes), np.int8)
    for packed in program.descriptors:
        d = Descriptor.from_words(packed)
        unit, width = row_unit(d, lanes), d.out_w * d.batch
        total = output.shape[1] * width
        step = words * lanes or -(-height // unit) * unit * width
        for first in range(0, total, step):
            strip = cut(d, first, min(first + step, total), lanes)
            begin, end = strip.reads
            machine.activations[:] = machine.junk(*machine.activations.shape)
            low = config.memory.activation_words - source.shape[0] * (end - begin)
            for channel in range(source.shape[0]):
                place = source.base + channel * source.pitch
                at = low + channel * (end - begin)
                machine.activations[at : at + end - begin] = lay[place + begin : place + end]
            channels = (d.out_base - output.base) // output.pitch
            begins, ends = strip.writes
            made = replace(
                strip.descriptor, in_base=low, in_pitch=end - begin, out_base=0,
                out_pitch=ends - begins,
            )  # fmt: skip
            made.words("strip", config)
            machine.compute(made)
            count = (
                (d.passes - 1) * config.engine.columns + d.last_columns if d.passes else len(found)
            )
            for channel in range(count):
                at = channel * (ends - begins)
                part = machine.activations[at : at + ends - begins]
                found[channels + channel, begins:ends] = part
    pixels = output.shape[1] * output.shape[2] * program.batch
    planes = found.reshape(len(found), -1)[:, :pixels]
    shape = (*output.shape, program.batch)
    return planes.reshape(shape).transpose(3, 0, 1, 2)


@pytest.mark.parametrize("seed", range(25))
def test_strips_of_a_layer_are_the_whole_layer(seed):
    rng = np.random.default_rng([16, seed])
    kernel = tuple(int(n) for n in rng.integers(1, 6, 2))
    stride = tuple(int(n) for n in rng.integers(1, 4, 2))
    padding = tuple(int(rng.integers(0, kernel[n % 2])) for n in range(4))
    size = tuple(int(n) for n in rng.integers(6, 24, 2))
    batch = int(rng.choice([1, 1, 2, 3]))
    kind = rng.choice(["conv", "conv", "max_pool", "avg_pool"])
    if kind == "conv":
        network = random_conv(
            rng, in_channels=int(rng.integers(1, 6)), out_channels=int(rng.integers(1, 14)),
            size=size, kernel=kernel, stride=stride, padding=padding, k=4, group=8,
        )  # fmt: skip
    else:
        network = pooled(rng, kind, kernel, stride, padding, size)
    program = compile(network, CONFIG, batch=batch)
    x = random_input(network, batch, seed)
    expected = golden.run(network, x)
    for height, words in ((1, 0), (4, 0), *(((0, 1), (0, 3)) if batch == 1 else ())):
        actual = in_strips(program, x, height, words)
        assert np.array_equal(actual, expected), (kind, kernel, stride, padding, size, height)


@pytest.mark.parametrize(
    ("kernel", "stride", "below"),
    [((1, 1), 1, 0), ((1, 3), 1, 0), ((1, 3), 1, 2), ((3, 1), 1, 2), ((1, 1), 2, 0)],
)
def test_strips_of_a_layer_that_works_on_each_pixel_read_its_words_alone(kernel, stride, below):
    rng = np.random.default_rng(17)
    padding = (0, 0, below * (kernel[0] > 1), below * (kernel[1] > 1))
    network = random_conv(
        rng, in_channels=5, out_channels=7, size=(14, 14), kernel=kernel, stride=(stride, stride),
        padding=padding, k=4, group=8,
    )  # fmt: skip
    program = compile(network, CONFIG)
    d, lanes = Descriptor.from_words(program.descriptors[0]), CONFIG.engine.lanes
    total = program.layers[0].output.shape[1] * d.out_w
    strips = [
        cut(d, first, min(first + 3 * lanes, total), lanes) for first in range(0, total, 3 * lanes)
    ]
    alone = [strip.reads == strip.writes for strip in strips]
    assert all(alone) if kernel == (1, 1) and stride == 1 else not any(alone[1:-1])
