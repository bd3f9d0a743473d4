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
from steelyard.engines.timing import joined, segments
from steelyard.network import NetworkBuilder
from steelyard.network.random import random_network, random_weight
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
NARROW = CONFIG.with_(wide_reads=False, shared_taps=False)
CONFIGS = {"wide": CONFIG, "narrow": NARROW}


def random_layer(seed, kind, config):
    """Descriptor of a layer of the kind, and its input tensors int8 (batch, channels, h, w)."""
    rng = np.random.default_rng(seed)
    network = random_network(
        int(rng.integers(1 << 32)), kinds=(kind,), layers=1, max_pixels=30, max_channels=5, group=4
    )
    batch = int(rng.choice([1, 1, 2, 5]))
    # Lanes that are added up have no places of their own, nor have fused operands.
    plain = config.with_(lane_sums=False, fused_additions=False)
    layer, words = network.layers[-1], compile(network, plain, batch=batch).descriptors[-1]
    shapes = [network.tensor(name).shape for name in layer.inputs]
    inputs = [rng.integers(-128, 128, (batch, *shape)).astype(np.int8) for shape in shapes]
    return Descriptor.from_words(words), inputs


def shared_layer(seed, stride=1):
    """Descriptor of a convolution whose words serve three taps, and its input tensor."""
    rng = np.random.default_rng(seed)
    channels, kernel = 4 * int(rng.integers(1, 4)), int(rng.integers(1, 4))
    builder = NetworkBuilder("n", (channels, *rng.integers(3, 12, 2).tolist()), zero_point=-128)
    padding = (kernel // 2, 1, (kernel - 1) // 2, 1)
    weight = random_weight(rng, (3, channels, kernel, 3), group=4, k=1)
    builder.conv(weight, padding=padding, stride=stride)
    network = builder.network()
    d = Descriptor.from_words(compile(network, CONFIG).descriptors[-1])
    assert d.shared
    x = rng.integers(-128, 128, (1, *network.tensor(network.input).shape)).astype(np.int8)
    return d, [x]


def outside_of(d, tile):
    """Bits of the lanes whose left or right pixel lies beyond an end of their row, and which."""
    bits = known = 0
    for lane in range(LANES if tile < d.out_tiles - 1 else d.last_lanes):
        x = (tile * LANES + lane) % d.out_w * d.stride_w
        bits |= (x == 0) << 2 * lane | (x + 1 == d.in_w) << 2 * lane + 1
        known |= 3 << 2 * lane
    return bits, known


def shared_bytes(d, x, ky, channel, tile, taps=((0, 0), (1, 1), (2, 2))):
    """Bytes of a word that taps share; None for those that no lane takes.

    `taps` are their columns in the kernel, and how far above its lane a byte stands.
    """
    outside, _ = outside_of(d, tile)
    seen = [None] * (LANES + 2)
    for kx, above in taps:
        for lane, value in enumerate(lanes_of(d, x, ky, kx, channel, tile)):
            if kx == 1 or not outside >> 2 * lane + kx // 2 & 1:
                assert seen[lane + above] in (None, value)
                seen[lane + above] = value
    return seen


def words_of_pairs(d, x, tile):
    """At stride 2 the words of a tile: of each group those of middle taps, then those between."""
    size = CONFIG.engine.group
    for ky in range(d.kernel_h):
        for first in range(0, d.in_channels, size):
            for taps in (((1, 0),), ((0, 0), (2, 1))):
                for index in range(size):
                    seen = shared_bytes(d, x, ky, first + index, tile, taps)
                    yield seen, index, int(index == size - 1)


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
    """Every word in order: (bytes, address, group loaded) or (bytes, first, last)."""
    taps = [(ky, kx) for ky in range(d.kernel_h) for kx in range(d.kernel_w)]
    slot = 0
    for tile in range(d.out_tiles):
        if d.ring > 1:
            for seen, index, ends in words_of_pairs(d, inputs[0], tile):
                yield seen, slot * CONFIG.engine.group + index, ends
                slot = (slot + ends) % CONFIG.engine.window_groups
        elif d.op == Operation.CONV:
            places = [(*tap, channel) for tap in taps for channel in range(d.in_channels)]
            for q, (ky, kx, channel) in enumerate(places):
                index = q % CONFIG.engine.group
                ends = index == CONFIG.engine.group - 1 or q == len(places) - 1
                if d.shared:
                    seen = shared_bytes(d, inputs[0], ky, channel, tile)
                else:
                    seen = lanes_of(d, inputs[0], ky, kx, channel, tile)
                yield seen, slot * CONFIG.engine.group + index, int(ends)
                slot = (slot + ends) % CONFIG.engine.window_groups
        elif d.op == Operation.ADD:
            for channel in range(d.in_channels):
                for operand, x in enumerate(inputs):
                    yield lanes_of(d, x, 0, 0, channel, tile), 1 - operand, operand
        else:
            for channel in range(d.in_channels):
                for n, (ky, kx) in enumerate(taps):
                    seen = lanes_of(d, inputs[0], ky, kx, channel, tile)
                    yield seen, int(n == 0), int(n == len(taps) - 1)


class Bench:
    """Loader with a memory that answers as late as the real one and a ring that is slow."""

    def __init__(self, rng, config=CONFIG):
        self.rng, self.config = rng, config
        self.dut = Loader(config)
        self.rows = np.zeros((config.memory.activation_words, LANES), np.int8)
        self.edges = {}

    async def memory(self, ctx):
        dut, banks = self.dut, np.arange(self.config.banks)
        pending = [(0, 0)] * (read_latency(CONFIG) - 1)
        tick = ctx.tick().sample(dut.read.row, dut.read.split)
        while True:
            _, _, row, split = await tick
            pending.append((row, split))
            row, split = pending.pop(0)
            # A row of all banks is one of several words.
            wide = self.rows.reshape(-1, len(banks))
            data = wide[(row + (banks < split)) % len(wide), banks].tobytes()
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
        ctx.set(dut.layer.as_value(), layer_bits(self.config, d))
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
                _, _, done, window, address, group, vector, first, last, word = (
                    await ctx.tick().sample(
                        dut.done, dut.window_valid, dut.window_address, dut.group_loaded,
                        dut.vector_valid, dut.vector_first, dut.vector_last,
                        dut.word,
                    )
                )  # fmt: skip
                cycle += 1
                assert cycle < 20_000, "the loader hangs"
                done_at = done_at or (cycle if done else None)
                assert group <= window
                valid = window | vector
            assert (window, vector) == ((1, 0) if d.op == Operation.CONV else (0, 1))
            got = [own if want is not None else None for own, want in zip(word, seen, strict=False)]
            assert got == seen, f"word {flags} of {d}"
            if window:
                assert address // CONFIG.engine.group not in loaded, "the group is still in use"
                assert [address, group] == flags
                if group:
                    loaded.append(address // CONFIG.engine.group)
            else:
                assert [first, last] == flags
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

    def run(self, testbench, *watches):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(testbench)
        for each in (self.memory, *watches):
            sim.add_testbench(each, background=True)
        sim.run()


@pytest.mark.parametrize("kind", ["conv", "fc", "max_pool", "avg_pool", "add"])
@pytest.mark.parametrize("name", CONFIGS)
def test_words_of_random_layers_come_in_order_and_respect_the_ring(name, kind):
    seed = len(kind)
    print(f"seed {seed}")
    bench = Bench(Random(seed), CONFIGS[name])

    async def testbench(ctx):
        for n in range(8):
            d, inputs = random_layer(seed + 100 * n, kind, bench.config)
            await bench.layer(ctx, d, inputs, bench.rng.choice([1.0, 0.3, 0.05]))

    bench.run(testbench)


@pytest.mark.parametrize("kind", ["conv", "max_pool"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_second_pixel_of_several_rows_reaches_its_lane(name, kind):
    bench = Bench(Random(3), CONFIGS[name])
    layers = (random_layer(seed, kind, bench.config) for seed in range(1000))
    wanted = (pair for pair in layers if pair[0].step2 and 2 <= pair[0].out_w <= LANES // 2)

    async def testbench(ctx):
        for d, inputs in islice(wanted, 4):
            await bench.layer(ctx, d, inputs, 0.5)

    bench.run(testbench)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("release", [1.0, 0.3, 0.05])
def test_words_of_three_taps_come_with_the_ends_of_their_rows(release, stride):
    bench = Bench(Random(5))
    dut = bench.dut

    async def edges(ctx):
        """What the array would hold of each group, from the cycle after it was said."""
        tick = ctx.tick().sample(dut.edges.valid, dut.edges.slot, dut.edges.outside)
        while True:
            _, _, valid, slot, outside = await tick
            if valid:
                assert slot not in bench.edges, "said before the group was taken"
                bench.edges[slot] = outside

    async def groups(ctx):
        """Every group has its ends when it is complete."""
        tick = ctx.tick().sample(dut.group_loaded, dut.window_address)
        while True:
            _, _, loaded, address = await tick
            if loaded:
                tile = bench.groups.pop()
                bits, known = outside_of(bench.layer_now, tile)
                assert bench.edges.pop(address // CONFIG.engine.group) & known == bits, tile

    async def testbench(ctx):
        for seed in range(8):
            d, inputs = shared_layer(seed, stride)
            each = d.ring * d.kernel_h * d.in_channels // CONFIG.engine.group
            bench.layer_now = d
            bench.groups = [tile for tile in range(d.out_tiles) for _ in range(each)][::-1]
            await bench.layer(ctx, d, inputs, release)
            assert not bench.groups and not bench.edges

    bench.run(testbench, edges, groups)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_segment_is_issued_every_cycle_while_groups_are_free(name):
    bench = Bench(Random(1), CONFIGS[name])

    async def testbench(ctx):
        layers = [random_layer(seed, "conv", bench.config) for seed in range(3)]
        if bench.config.engine.shared_taps:
            layers += [shared_layer(1), shared_layer(2, stride=2)]
        for d, inputs in layers:
            cycles = await bench.layer(ctx, d, inputs, 1.0)
            words = d.kernel_h * d.kernel_w * d.in_channels
            # A tile with little to load waits for the walker, which takes a cycle a lane.
            reads = segments(d, bench.config) * d.ring
            if d.ring > 1:
                reads += joined(d, bench.config)
            most = sum(max(int(load) * words, LANES + 1) for load in reads)
            assert cycles <= most + LANES + loader_latency(CONFIG) + 6

    bench.run(testbench)
