# amaranth: UnusedElaboratable=no
"""Loader against numpy's windows, on a model of the activation memory and of the window ring."""

from itertools import islice
from random import Random

import numpy as np
import pytest
from amaranth.sim import Simulator

from steelyard.compile import Descriptor, Operation, compile
from steelyard.contract import configure
from steelyard.contract.latencies import loader_latency, read_latency
from steelyard.engines.timing import segments
from steelyard.network.random import random_network
from steelyard.program import pack_activations
from steelyard_hw.load.loader import Loader
from steelyard_sim.cases.array import layer_bits

CONFIG = configure(
    "array",
    lanes=8,
    columns=2,
    group=4,
    requantizers=2,
    window_groups=4,
    activation_words=256,
    weight_words=4096,
    partial_sum_channels=64,
)
LANES = CONFIG.engine.lanes


def random_layer(seed, kind):
    """Descriptor of a layer of the kind, and its input tensors int8 (batch, channels, h, w)."""
    rng = np.random.default_rng(seed)
    network = random_network(
        int(rng.integers(1 << 32)), kinds=(kind,), layers=1, max_pixels=30, max_channels=5, group=4
    )
    batch = int(rng.choice([1, 1, 2, 5]))
    layer, words = network.layers[-1], compile(network, CONFIG, batch=batch).descriptors[-1]
    shapes = [network.tensor(name).shape for name in layer.inputs]
    inputs = [rng.integers(-128, 128, (batch, *shape)).astype(np.int8) for shape in shapes]
    return Descriptor.from_words(words), inputs


def lanes_of(d, x, ky, kx, channel, tile):
    """What the valid lanes of a tile see at a tap."""
    batch, _, height, width = x.shape
    seen = []
    for pixel in range(tile * LANES, (tile + 1) * LANES):
        if tile == d.out_tiles - 1 and pixel % LANES >= d.last_lanes:
            break
        image, place = pixel % batch, pixel // batch
        row = place // d.out_w * d.stride_h + d.y_origin + ky
        column = place % d.out_w * d.stride_w + d.x_origin + kx
        inside = 0 <= row < height and 0 <= column < width
        seen.append(int(x[image, channel, row, column]) if inside else d.pad_value)
    return seen


def expected_words(d, inputs):
    """Every word in order: (lanes, address, group loaded) or (lanes, first, last, operand)."""
    taps = [(ky, kx) for ky in range(d.kernel_h) for kx in range(d.kernel_w)]
    slot = 0
    for tile in range(d.out_tiles):
        if d.op == Operation.CONV:
            places = [(*tap, channel) for tap in taps for channel in range(d.in_channels)]
            for q, (ky, kx, channel) in enumerate(places):
                index = q % CONFIG.engine.group
                ends = index == CONFIG.engine.group - 1 or q == len(places) - 1
                seen = lanes_of(d, inputs[0], ky, kx, channel, tile)
                yield seen, slot * CONFIG.engine.group + index, int(ends)
                slot = (slot + ends) % CONFIG.engine.window_groups
        elif d.op == Operation.ADD:
            for channel in range(d.in_channels):
                for operand, x in enumerate(inputs):
                    yield lanes_of(d, x, 0, 0, channel, tile), 1, 1, operand
        else:
            for channel in range(d.in_channels):
                for n, (ky, kx) in enumerate(taps):
                    seen = lanes_of(d, inputs[0], ky, kx, channel, tile)
                    yield seen, int(n == 0), int(n == len(taps) - 1), 0


class Bench:
    """Loader with a memory that answers as late as the real one and a ring that is slow."""

    def __init__(self, rng):
        self.rng = rng
        self.dut = Loader(CONFIG)
        self.rows = np.zeros((CONFIG.memory.activation_words, LANES), np.int8)

    async def memory(self, ctx):
        dut, banks = self.dut, np.arange(LANES)
        pending = [(0, 0)] * (read_latency(CONFIG) - 1)
        tick = ctx.tick().sample(dut.read.row, dut.read.split)
        while True:
            _, _, row, split = await tick
            pending.append((row, split))
            row, split = pending.pop(0)
            rows = (row + (banks < split)) % CONFIG.memory.activation_words
            data = self.rows[rows, banks].tobytes()
            ctx.set(dut.read.data.as_value(), int.from_bytes(data, "little"))

    def fill(self, d, inputs):
        self.rows = np.random.default_rng(self.rng.randrange(1 << 32)).integers(
            -128, 128, self.rows.shape, dtype=np.int8
        )
        for base, x in zip((d.in_base, d.in2_base), inputs, strict=False):
            words = pack_activations(x, LANES).view(np.int8).reshape(-1, LANES)
            self.rows[base : base + len(words)] = words

    async def layer(self, ctx, d, inputs, release):
        """Run a layer, check its words; cycles from start to the last word."""
        dut, rng = self.dut, self.rng
        self.fill(d, inputs)
        ctx.set(dut.layer.as_value(), layer_bits(CONFIG, d))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        loaded, cycle, last_vector, done_at = [], 0, -CONFIG.drain_beats, None
        for seen, *flags in expected_words(d, inputs):
            valid = 0
            while not valid:
                free = bool(loaded) and rng.random() < release
                if free:
                    loaded.pop(0)
                ctx.set(dut.group_free, free)
                _, _, done, window, address, group, vector, first, last, operand, word = (
                    await ctx.tick().sample(
                        dut.done, dut.window_valid, dut.window_address, dut.group_loaded,
                        dut.vector_valid, dut.vector_first, dut.vector_last, dut.vector_operand,
                        dut.word,
                    )
                )  # fmt: skip
                cycle += 1
                assert cycle < 20_000, "the loader hangs"
                done_at = done_at or (cycle if done else None)
                assert group <= window
                valid = window | vector
            assert (window, vector) == ((1, 0) if d.op == Operation.CONV else (0, 1))
            assert list(word)[: len(seen)] == seen, f"word {flags} of {d}"
            if window:
                assert address // CONFIG.engine.group not in loaded, "the group is still in use"
                assert [address, group] == flags
                if group:
                    loaded.append(address // CONFIG.engine.group)
            else:
                assert [first, last, operand] == flags
                if last:
                    assert cycle - last_vector >= CONFIG.drain_beats
                    last_vector = cycle
        assert done_at and cycle - done_at < loader_latency(CONFIG), (
            "done before the last word was issued"
        )
        for _ in range(loader_latency(CONFIG) + LANES):
            await ctx.tick()
            assert not ctx.get(dut.window_valid) and not ctx.get(dut.vector_valid)
        ctx.set(dut.group_free, 0)
        return cycle

    def run(self, testbench):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(testbench)
        sim.add_testbench(self.memory, background=True)
        sim.run()


@pytest.mark.parametrize("kind", ["conv", "fc", "max_pool", "avg_pool", "add"])
def test_words_of_random_layers_come_in_order_and_respect_the_ring(kind):
    seed = len(kind)
    print(f"seed {seed}")
    bench = Bench(Random(seed))

    async def testbench(ctx):
        for n in range(8):
            d, inputs = random_layer(seed + 100 * n, kind)
            await bench.layer(ctx, d, inputs, bench.rng.choice([1.0, 0.3, 0.05]))

    bench.run(testbench)


@pytest.mark.parametrize("kind", ["conv", "max_pool"])
def test_every_second_pixel_of_several_rows_reaches_its_lane(kind):
    layers = (random_layer(seed, kind) for seed in range(1000))
    wanted = (pair for pair in layers if pair[0].step2 and 2 <= pair[0].out_w <= LANES // 2)
    bench = Bench(Random(3))

    async def testbench(ctx):
        for d, inputs in islice(wanted, 4):
            await bench.layer(ctx, d, inputs, 0.5)

    bench.run(testbench)


def test_a_segment_is_issued_every_cycle_while_groups_are_free():
    bench = Bench(Random(1))

    async def testbench(ctx):
        for seed in range(3):
            d, inputs = random_layer(seed, "conv")
            cycles = await bench.layer(ctx, d, inputs, 1.0)
            words = d.kernel_h * d.kernel_w * d.in_channels
            # A tile with little to load waits for the walker, which takes a cycle a lane.
            most = sum(max(int(load) * words, LANES + 1) for load in segments(d, LANES))
            assert cycles <= most + LANES + loader_latency(CONFIG) + 6

    bench.run(testbench)
