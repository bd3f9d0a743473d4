"""Descriptors carried out on memories as docs/architecture.md says, a layer at a time: fast.

Moves end at once, or as late as descriptors let them; what a move under way reads or writes is
spoilt as soon as a layer runs beside it that could see the difference.
"""

from collections import deque

import numpy as np

from steelyard.compile import Descriptor, Operation
from steelyard.contract.descriptor import ANY_UNDER_WAY
from steelyard.contract.registers import Space
from steelyard.network import requantize


class StripMachine:
    """Memories of an accelerator while a program runs.

    Parameters
    ----------
    late : whether moves end only when descriptors wait for them
    """

    def __init__(self, program, *, late=False, seed=0):
        self.program, self.config = program, program.config
        config = self.config
        self.late = late
        self.rng = np.random.default_rng(seed)
        self.lanes = config.engine.lanes
        self.activations = self.junk(config.memory.activation_words, self.lanes)
        self.weights = self.words(config.memory.weight_words, config.engine.weight_item_words)
        self.parameters = self.words(config.memory.parameter_words, len(config.parameter_bits))
        self.descriptors = self.words(config.memory.max_layers, 32)
        self.external = self.words(max(config.memory.external_words, 1))
        self.under_way = deque()
        self.most = self.moved = 0
        for memory, found in (
            (self.weights, program.weights),
            (self.parameters, program.parameters),
            (self.descriptors, program.descriptors[: config.memory.max_layers]),
            (self.external, program.external),
        ):
            memory[: len(found)] = found

    def junk(self, *shape):
        return self.rng.integers(-128, 128, shape).astype(np.int8)

    def words(self, *shape):
        return self.rng.integers(0, 1 << 32, shape, dtype=np.uint32)

    # The host's side.

    def write(self, plane, x):
        words = self.program.pack_activations(x)
        if plane.external:
            self.external[plane.base : plane.base + words.size] = words
        else:
            data = words.view(np.int8).reshape(-1, self.lanes)
            self.activations[plane.base : plane.base + len(data)] = data

    def read(self, plane):
        if plane.external:
            count = plane.words * self.lanes // 4
            words = self.external[plane.base : plane.base + count]
        else:
            words = self.activations[plane.base : plane.base + plane.words].reshape(-1).view("<u4")
        return self.program.unpack_activations(words, plane.shape)

    def run(self, x, *, layerwise=True):
        """Outputs of layers as they are read after each, or after the last one alone."""
        program = self.program
        self.write(program.input, x)
        found = {}
        for layer, entry in zip(program.network.layers, program.layers, strict=True):
            for number in range(entry.first, entry.first + entry.count):
                self.execute(number)
            if layerwise:
                # The accelerator is busy as long as words are moved.
                while self.under_way:
                    self.end()
                if entry.stored:
                    found[layer.output] = self.read(entry.output)
        while self.under_way:
            self.end()
        for name, plane in program.outputs.items():
            found[name] = self.read(plane)
        return found

    def execute(self, number):
        words = self.descriptors[number % len(self.descriptors)]
        d = Descriptor.from_words(words)
        expected = Descriptor.from_words(self.program.descriptors[number])
        assert d == expected, f"descriptor {number} is not there"
        if d.moves:
            self.move(d)
        else:
            self.spoil()
            self.compute(d)

    # Moves.

    def move(self, d):
        if d.length:
            if len(self.under_way) == ANY_UNDER_WAY:
                self.end()
            self.under_way.append(d)
            self.moved += d.rows * d.length
            self.most = max(self.most, len(self.under_way))
        while self.under_way and (not self.late or len(self.under_way) > d.under_way):
            self.end()

    def memory(self, space):
        return {
            Space.ACTIVATIONS: self.activations,
            Space.WEIGHTS: self.weights,
            Space.PARAMETERS: self.parameters,
            Space.DESCRIPTORS: self.descriptors.reshape(-1, 1),
        }[space]

    def rows(self, d):
        """Items and external words of each row of a move."""
        memory = self.memory(d.space)
        size = memory[0].nbytes // 4
        for row in range(d.rows):
            item = d.item + row * d.in_pitch
            yield slice(item, item + -(-d.length // size)), d.external + row * d.out_pitch

    def end(self):
        d = self.under_way.popleft()
        memory = self.memory(d.space)
        for items, external in self.rows(d):
            assert items.stop <= len(memory) and external + d.length <= len(self.external)
            words = self.external[external : external + d.length]
            if d.op == Operation.STORE:
                assert d.space == Space.ACTIVATIONS
                words[:] = memory[items].reshape(-1).view("<u4")
            else:
                memory[items] = words.view(memory.dtype).reshape(-1, memory.shape[1])

    def spoil(self):
        """What loads under way write is neither old nor new, unless stores before them read it."""
        read = np.zeros(len(self.activations), bool)
        for d in self.under_way:
            for items, _ in self.rows(d):
                if d.op == Operation.STORE:
                    read[items] = True
                elif d.space == Space.ACTIVATIONS:
                    begun = ~read[items]
                    self.activations[items][begun] = self.junk(int(begun.sum()), self.lanes)
                else:
                    part = self.memory(d.space)[items]
                    part[:] = self.words(*part.shape)

    # Layers.

    def compute(self, d):
        channels = (
            (d.passes - 1) * self.config.engine.columns + d.last_columns
            if d.op == Operation.CONV
            else d.in_channels
        )
        pixels = (d.out_tiles - 1) * self.lanes + d.last_lanes
        first = d.param_base
        items = self.parameters[first : first + channels].astype(np.int64)
        bias = items[:, 0] - (items[:, 0] >> 31 << 32)
        multiplier, shift = items[:, 1] & (1 << 24) - 1, items[:, 1] >> 24
        if d.op == Operation.CONV:
            window = self.window(d, d.in_base).reshape(-1, pixels) + 128
            sums = self.matrix(d, channels) @ window
        elif d.op == Operation.MAX_POOL:
            sums = self.window(d, d.in_base).max(axis=0)
        elif d.op == Operation.AVG_POOL:
            sums = self.lane_sums(d) if d.lane_sum else self.window(d, d.in_base).sum(axis=0)
        else:
            a, b = (self.window(d, base)[0] for base in (d.in_base, d.in2_base))
            assert d.op == Operation.ADD
            sums = (a - d.z_a) * multiplier[0] + (b - d.z_b) * bias[0]
            multiplier, shift, bias = np.ones(1, np.int64), shift[:1], np.zeros(1, np.int64)
        sums = (sums + bias[:, None]) * multiplier[:, None]
        y = requantize(sums, 1, shift[:, None], d.z_y, d.lo, d.hi)
        if d.table:
            words = self.parameters[d.table_base : d.table_base + 32, :2]
            table = np.ascontiguousarray(words).reshape(-1).view(np.int8)
            y = np.roll(table, 128)[y.view(np.uint8)]
        self.store(d, y, channels, pixels)

    def store(self, d, y, channels, pixels):
        data = self.junk(channels, d.out_tiles * self.lanes)
        places = d.out_base + np.arange(channels)[:, None] * d.out_pitch + np.arange(d.out_tiles)
        if d.fused:
            other = self.activations[places + d.addend_offset].reshape(channels, -1)
            other = other[:, :pixels].astype(np.int64)
            total = (y.astype(np.int64) - d.z_a) * d.m_a + (other - d.z_b) * d.m_b
            y = requantize(total, 1, d.sum_shift, d.z_sum, d.lo_sum, d.hi_sum)
        data[:, :pixels] = y
        data = data.reshape(channels, d.out_tiles, self.lanes)
        assert places.max() < len(self.activations)
        self.activations[places] = data
        # A store under way of these words would have taken either.
        for move in self.under_way:
            if move.op == Operation.STORE:
                for items, _ in self.rows(move):
                    span = np.arange(items.start, items.stop)
                    assert not np.isin(span, places).any(), "a layer overwrites what is stored"

    def window(self, d, base):
        """Codes of every tap, channel and pixel, int64 (taps, channels, pixels)."""
        pixels = np.arange((d.out_tiles - 1) * self.lanes + d.last_lanes)
        place, image = np.divmod(pixels, d.batch)
        y, x = np.divmod(place + d.skipped_columns, d.out_w)
        pixel = d.delta_pixel + d.batch - 1
        row = (d.out_w - 1) * pixel + d.delta_row + d.batch - 1
        origin = d.origin + y * row + (x - d.skipped_columns) * pixel + image
        assert d.skipped_x == d.skipped_columns * d.stride_w
        taps = 3 if d.shared else d.kernel_w
        down = d.tap_row + (d.kernel_w - 1) * d.batch
        left = 0
        if d.shared and d.step2:
            down, left = d.in_w, -1
        flat = self.activations.reshape(-1)
        channels = (base + np.arange(d.in_channels) * d.in_pitch)[:, None] * self.lanes
        found = []
        for ky in range(d.kernel_h):
            for kx in range(taps):
                at = channels + origin + left + ky * down + kx * d.batch
                word = flat[at % flat.size].astype(np.int64)
                if d.padded:
                    v, u = d.y_origin + y * d.stride_h + ky, d.x_origin + x * d.stride_w + kx
                    inside = (v >= 0) & (v < d.in_h) & (u >= 0) & (u < d.in_w)
                    word = np.where(inside, word, d.pad_value)
                found.append(word)
        return np.stack(found)

    def lane_sums(self, d):
        flat = self.activations.reshape(-1)
        count = (d.kernel_h - 1) * self.lanes + d.lane_sum
        starts = (d.in_base + np.arange(d.in_channels) * d.in_pitch) * self.lanes
        at = starts[:, None] + d.origin + np.arange(count)
        return flat[at].astype(np.int64).sum(axis=1, keepdims=True)

    def matrix(self, d, channels):
        """Weights of a descriptor, int64 (channels, positions), of the items that it takes."""
        engine = self.config.engine
        assert not d.shared, "three taps of a word: on the RTL"
        items = self.weights[d.weight_base : d.weight_base + d.weight_count].astype(object)
        bits = sum(items[:, n] << 32 * n for n in range(items.shape[1]))
        width, group = engine.weight_bits, engine.group
        dense = np.zeros((d.passes * engine.columns, d.groups * group), np.int64)
        item = 0
        for chunk in range(d.chunks):
            size = d.last_chunk_groups if chunk == d.chunks - 1 else d.chunk_groups
            for p in range(d.passes):
                for g in range(chunk * d.chunk_groups, chunk * d.chunk_groups + size):
                    for _ in range(d.k_last if g == d.groups - 1 else d.k):
                        for c in range(engine.columns):
                            entry = int(bits[item]) >> c * width & (1 << width) - 1
                            value = (entry & 255) - 256 * (entry >> 7 & 1)
                            dense[p * engine.columns + c, g * group + (entry >> 8)] += value
                        item += 1
        assert item == d.weight_count
        positions = (d.groups - 1) * group + d.last_positions
        return dense[:channels, :positions]
