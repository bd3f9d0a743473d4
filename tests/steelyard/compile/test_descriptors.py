"""Descriptors executed word by word as docs/architecture.md says, against the golden model."""

import numpy as np
import pytest
from numpy.typing import NDArray

from steelyard.compile import Descriptor, Operation, compile
from steelyard.contract import AcceleratorConfig, configure
from steelyard.network import NetworkBuilder, golden, requantize
from steelyard.network.random import random_conv, random_input, random_network
from steelyard.program import Program

CONFIG = configure(
    "array",
    lanes=8,
    columns=6,
    group=8,
    requantizers=4,
    window_groups=8,
    activation_words=8192,
    weight_words=1 << 18,
    parameter_words=4096,
    partial_sum_channels=20,
    max_layers=256,
)


class Machine:
    """Accelerator of section 2 to 6: memories and the schedule, without timing.

    Everything the contract leaves unspecified is random, so that no program can rely on it.
    """

    def __init__(self, program: Program, seed: int = 0):
        self.config = program.config
        self.program = program
        self.rng = np.random.default_rng(seed)
        self.lanes = self.config.engine.lanes
        self.memory = self.junk(self.config.memory.activation_words, self.lanes)

    def junk(self, *shape: int) -> NDArray[np.int8]:
        return self.rng.integers(-128, 128, shape).astype(np.int8)

    def write(self, base: int, words: NDArray[np.uint32]) -> None:
        data = words.astype("<u4").view(np.int8).reshape(-1, self.lanes)
        self.memory[base : base + len(data)] = data

    def read(self, base: int, count: int) -> NDArray[np.uint32]:
        return self.memory[base : base + count].reshape(-1).view("<u4")

    def weight(self, item: int) -> list[tuple[int, int]]:
        bits = int.from_bytes(self.program.weights[item].astype("<u4").tobytes(), "little")
        width = self.config.engine.weight_bits
        fields = [bits >> c * width & (1 << width) - 1 for c in range(self.config.engine.columns)]
        assert bits >> self.config.engine.columns * width == 0
        return [(int(np.uint8(f & 255).view(np.int8)), f >> 8) for f in fields]

    def parameter(self, item: int) -> tuple[int, int, int]:
        low, high, negative = (int(word) for word in self.program.parameters[item])
        assert high >> 30 == 0
        # These layers have one multiplier for all sums.
        assert negative == high & (1 << 24) - 1
        return low - (low >> 31 << 32), high & (1 << 24) - 1, high >> 24

    def tiles(self, d: Descriptor):
        """Lists of (origin, x0, y0) of the valid lanes, tile by tile, from the deltas alone."""
        origin, x0, y0, image, column = d.origin, d.x_origin, d.y_origin, 0, 0
        for tile in range(d.out_tiles):
            valid = self.lanes if tile < d.out_tiles - 1 else d.last_lanes
            lanes = []
            for _ in range(valid):
                lanes.append((origin, x0, y0))
                if image + 1 < d.batch:
                    image, origin = image + 1, origin + 1
                elif column + 1 < d.out_w:
                    image, column = 0, column + 1
                    origin, x0 = origin + d.delta_pixel, x0 + d.stride_w
                else:
                    image, column = 0, 0
                    origin, x0, y0 = origin + d.delta_row, d.x_origin, y0 + d.stride_h
            yield tile, lanes

    def taps(self, d: Descriptor):
        offset = 0
        for ky in range(d.kernel_h):
            for kx in range(d.kernel_w):
                yield ky, kx, offset
                offset += d.batch if kx + 1 < d.kernel_w else d.tap_row

    def load(self, d: Descriptor, lanes, base: int, ky: int, kx: int, offset: int):
        """One window word, read segment by segment out of the banks."""
        word = self.junk(self.lanes)
        step = 2 if d.step2 else 1
        limit = self.lanes // 2 if d.step2 else self.lanes
        first = 0
        for lane, (origin, _, _) in enumerate(lanes):
            follows = lane and origin - lanes[lane - 1][0] == step and lane - first < limit
            if not follows:
                first = lane
                p0 = origin + offset
                banks = np.arange(self.lanes)
                rows = base + p0 // self.lanes + (banks < p0 % self.lanes)
                row = self.memory[rows % len(self.memory), banks]
            word[lane] = row[(p0 + step * (lane - first)) % self.lanes]
        if d.padded:
            assert max(d.kernel_h, d.kernel_w) <= 7
            for lane, (_, x0, y0) in enumerate(lanes):
                if not (0 <= y0 + ky < d.in_h and 0 <= x0 + kx < d.in_w):
                    word[lane] = d.pad_value
        return word.astype(np.int64)

    def finish(self, d: Descriptor, tile: int, channel: int, product, shift: int) -> None:
        y = requantize(product, 1, shift, d.z_y, d.lo, d.hi)
        if d.table:
            words = self.program.parameters[d.table_base : d.table_base + 32, :2].astype("<u4")
            y = np.roll(words.reshape(-1).view(np.int8), 128)[y.view(np.uint8)]
        place = d.out_base + channel * d.out_pitch + tile
        if d.fused:
            other = self.memory[place + d.addend_offset].astype(np.int64)
            total = (y.astype(np.int64) - d.z_a) * d.m_a + (other - d.z_b) * d.m_b
            y = requantize(total, 1, d.sum_shift, d.z_sum, d.lo_sum, d.hi_sum)
        self.memory[place] = y

    def fits(self, value: NDArray[np.int64], bits: int) -> bool:
        return bool(value.min() >= -(1 << bits - 1) and value.max() < 1 << bits - 1)

    def execute(self, index: int) -> None:
        words = self.program.descriptors[index]
        d = Descriptor.from_words(words)
        assert np.array_equal(d.words("it"), words)
        for tile, lanes in self.tiles(d):
            if d.op == Operation.CONV:
                self.conv_tile(d, tile, lanes)
            elif d.op == Operation.ADD:
                self.add_tile(d, tile, lanes)
            else:
                self.pool_tile(d, tile, lanes)

    def conv_tile(self, d: Descriptor, tile: int, lanes) -> None:
        config = self.config
        assert 1 <= d.chunk_groups <= config.engine.window_groups
        if d.chunks > 1:
            assert d.passes * config.engine.columns <= config.engine.partial_sum_channels
        positions = [
            self.load(d, lanes, d.in_base + channel * d.in_pitch, ky, kx, offset)
            for ky, kx, offset in self.taps(d)
            for channel in range(d.in_channels)
        ]
        assert len(positions) == (d.groups - 1) * config.engine.group + d.last_positions
        missing = config.engine.group - d.last_positions
        window = np.array([*positions, *self.junk(missing, self.lanes)], np.int64)
        window = window.reshape(d.groups, config.engine.group, self.lanes)
        partial = np.zeros((d.passes, config.engine.columns, self.lanes), np.int64)
        item = d.weight_base
        for chunk in range(d.chunks):
            last = chunk == d.chunks - 1
            size = d.last_chunk_groups if last else d.chunk_groups
            for p in range(d.passes):
                acc = np.zeros((config.engine.columns, self.lanes), np.int64)
                for g in range(chunk * d.chunk_groups, chunk * d.chunk_groups + size):
                    for _ in range(d.k_last if g == d.groups - 1 else d.k):
                        value, place = np.array(self.weights[item]).T
                        # Activations are kept offset by 128.
                        acc += value[:, None] * (window[g, place] + 128)
                        item += 1
                    # Unused lanes multiply whatever they hold; only valid ones must fit.
                    assert self.fits(acc[:, : len(lanes)], config.engine.accumulator_bits)
                partial[p] += acc
        assert item == d.weight_base + d.weight_count
        for channel in range((d.passes - 1) * config.engine.columns + d.last_columns):
            bias, multiplier, shift = self.parameter(d.param_base + channel)
            total = partial[divmod(channel, config.engine.columns)] + bias
            assert self.fits(total[: len(lanes)], 32)
            self.finish(d, tile, channel, total * multiplier, shift)

    def pool_tile(self, d: Descriptor, tile: int, lanes) -> None:
        combine = np.max if d.op == Operation.MAX_POOL else np.sum
        for channel in range(d.in_channels):
            base = d.in_base + channel * d.in_pitch
            if d.lane_sum:
                found = self.junk(self.lanes).astype(np.int64)
                found[0] = self.map_sum(d, base)
            else:
                found = combine([self.load(d, lanes, base, *tap) for tap in self.taps(d)], axis=0)
            bias, multiplier, shift = self.parameter(d.param_base + channel)
            self.finish(d, tile, channel, (found + bias) * multiplier, shift)

    def map_sum(self, d: Descriptor, base: int) -> int:
        """Sum of all lanes of all taps, of the last one `lane_sum` lanes alone."""
        assert d.op == Operation.AVG_POOL and (d.out_tiles, d.last_lanes, d.batch) == (1, 1, 1)
        lanes = [(d.origin + lane, 0, 0) for lane in range(self.lanes)]
        *words, last = (self.load(d, lanes, base, *tap) for tap in self.taps(d))
        return int(sum(word.sum() for word in words) + last[: d.lane_sum].sum())

    def add_tile(self, d: Descriptor, tile: int, lanes) -> None:
        m_b, m_a, shift = self.parameter(d.param_base)
        for channel in range(d.in_channels):
            a = self.load(d, lanes, d.in_base + channel * d.in_pitch, 0, 0, 0)
            b = self.load(d, lanes, d.in2_base + channel * d.in_pitch, 0, 0, 0)
            self.finish(d, tile, channel, (a - d.z_a) * m_a + (b - d.z_b) * m_b, shift)

    def run(self, x: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        """Every layer's output by tensor name, read right after the layer."""
        program = self.program
        self.weights = [self.weight(item) for item in range(len(program.weights))]
        self.write(program.input.base, program.pack_activations(x))
        outputs = {}
        for layer, entry in zip(program.network.layers, program.layers, strict=True):
            for index in range(entry.first, entry.first + entry.count):
                self.execute(index)
            if not entry.stored:
                continue
            words = self.read(entry.output.base, entry.output.words)
            outputs[layer.output] = program.unpack_activations(words, entry.output.shape)
        return outputs


def check(network, config: AcceleratorConfig, batch: int, k="auto", seed: int = 1) -> Program:
    program = compile(network, config, batch=batch, k=k)
    x = random_input(network, batch, seed)
    expected = golden.run(network, x, trace=True, threads=1)
    for name, actual in Machine(program, seed).run(x).items():
        wrong = np.argwhere(actual != expected[name])
        assert not len(wrong), f"{network.name}: {name} differs first at {wrong[0]}"
    return program


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_run_as_the_golden_model_says(seed):
    rng = np.random.default_rng([7, seed])
    config = CONFIG.with_(
        lanes=int(rng.choice([4, 8, 16])),
        columns=int(rng.integers(1, 9)),
        group=int(rng.choice([4, 8, 16])),
        window_groups=int(rng.choice([2, 8, 32])),
    )
    network = random_network(
        seed, layers=5, max_pixels=48, max_channels=14, group=config.engine.group
    )
    check(network, config, batch=int(rng.integers(1, 4)), seed=seed)


@pytest.mark.parametrize("k", ["auto", "dense", 5])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("stride", [1, 2, (1, 2), (2, 1)])
def test_a_chunked_convolution_split_by_channels_is_exact(k, batch, stride):
    network = random_conv(
        np.random.default_rng(3),
        in_channels=5,
        out_channels=23,
        size=(6, 7),
        kernel=(3, 3),
        stride=stride,
        padding=(1, 1, 1, 1),
        k=3,
        group=8,
    )
    config = CONFIG.with_(window_groups=4)
    program = check(network, config, batch, k)
    descriptors = [Descriptor.from_words(words) for words in program.descriptors]
    assert all(d.chunks > 1 and d.chunk_groups <= config.engine.window_groups for d in descriptors)
    assert [(d.passes, d.last_columns) for d in descriptors] == [(2, 6), (2, 5)]


@pytest.mark.parametrize("batch", [1, 5, 8, 11])
def test_a_fully_connected_layer_spreads_the_batch_over_lanes(batch):
    network = random_conv(
        np.random.default_rng(4),
        in_channels=7,
        out_channels=10,
        size=(3, 4),
        fully_connected=True,
        k=2,
        group=8,
    )
    program = check(network, CONFIG, batch)
    descriptor = Descriptor.from_words(program.descriptors[0])
    assert (descriptor.kernel_h, descriptor.kernel_w) == (3, 4)
    assert descriptor.out_tiles == -(-batch // 8)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size, words, last", [((7, 7), 4, 1), ((4, 4), 1, 16), ((3, 5), 1, 15)])
def test_an_average_over_a_map_reads_each_word_once(size, words, last, stride):
    builder = NetworkBuilder("n", (3, *size))
    builder.avg_pool(kernel=size, stride=stride)
    network = builder.network()
    config = configure("array")
    descriptor = Descriptor.from_words(compile(network, config).descriptors[0])
    assert (descriptor.kernel_w, descriptor.kernel_h, descriptor.lane_sum) == (1, words, last)
    assert descriptor.tap_row == config.engine.lanes
    # Lanes of a word are pixels that follow each other, whatever the stride.
    assert not descriptor.step2
    for other in (config.with_(lane_sums=False), config.with_(vector_bits=16, lane_sums=False)):
        plain = Descriptor.from_words(compile(network, other).descriptors[0])
        assert (plain.kernel_w, plain.kernel_h, plain.lane_sum) == (size[1], size[0], 0)
    # Lanes of several images are of several maps.
    many = Descriptor.from_words(compile(network, config, batch=2).descriptors[0])
    assert (many.kernel_h, many.lane_sum) == (size[0], 0)
