"""Testbench library: random cases with their expected results, for Amaranth's simulator and cocotb.

Everything here is independent of the simulator and follows from a seed; `cocotb_streams` drives the
signals.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

from steelyard import golden
from steelyard.compile import Descriptor, Operation, compile
from steelyard.compile.descriptor import FIELDS
from steelyard.compile.packing import Schedule, grouped, pack_weights
from steelyard.config import ArrayConfig
from steelyard.driver import Mismatch
from steelyard.errors import UserError
from steelyard.network import Network
from steelyard.program import Program
from steelyard.randomnet import random_conv, random_input, random_network, random_weight
from steelyard_hw.array import MINIMUM_DRAIN
from steelyard_hw.descriptor import LayerLayout
from steelyard_hw.output import Beat

__all__ = [
    "ArrayCase",
    "BeatChecker",
    "Script",
    "WindowFeeder",
    "layer_bits",
    "random_array_case",
    "random_program",
]

REGISTERS, DESCRIPTORS, PARAMETERS, WEIGHTS, ACTIVATIONS, COUNTERS = range(6)
INVALID_COMMANDS = (0, 0xFFFFFFFF, 0x04000000, 0x01000008, 0x02800001)
STATUS_REGISTER = 10
DONE = 2
ATTEMPTS = 1000


def layer_bits(config: ArrayConfig, descriptor: Descriptor) -> int:
    """A descriptor as the bits of the gateware's ``LayerLayout``."""
    layout = LayerLayout(config)
    bits = 0
    for name, place in FIELDS.items():
        member = layout[name]
        value = getattr(descriptor, name) - place.offset
        bits |= (value & (1 << member.width) - 1) << member.offset
    return bits


def _integers(words: NDArray[np.uint32]) -> list[int]:
    """Each row of 32-bit words as one integer, low word first."""
    return [sum(int(word) << 32 * n for n, word in enumerate(row)) for row in words]


# The sparse array on its own


@dataclass(frozen=True, kw_only=True)
class ArrayCase:
    """Convolution for the bare array.

    Members
    -------
    layer : descriptor
    items : weight items of the whole layer, in order
    windows : activations, int8 (tiles, positions, lanes)
    sums : expected sums of every chunk, int64 (tiles, chunks, channels, lanes)
    """

    config: ArrayConfig
    layer: Descriptor
    items: list[int]
    windows: NDArray[np.int8]
    sums: NDArray[np.int64]

    def __str__(self) -> str:
        d = self.layer
        return (
            f"{d.out_tiles} tiles, {self.windows.shape[1]} positions -> {self.sums.shape[2]} channels, "
            f"K {d.k}, {d.chunks} chunks, {d.passes} passes"
        )


def random_array_case(seed: int, config: ArrayConfig, *, work: int = 1500) -> ArrayCase:
    """Random convolution of about `work` weight items at most, for any K, chunks and passes.

    Half of all layers need partial sums. One activation in ten is -128 or 127, one weight in ten
    -127 or 127.
    """
    rng = np.random.default_rng([seed, 1])
    group, half = config.group, config.window_groups // 2
    for _ in range(ATTEMPTS):
        chunked = bool(rng.random() < 0.5)
        if chunked:
            chunk_groups = int(rng.integers(1, half + 1))
            groups = chunk_groups + int(rng.integers(1, 2 * half + 2))
        else:
            chunk_groups = groups = int(rng.integers(1, config.window_groups + 1))
        last = int(rng.integers(1, group + 1))
        k = int(rng.integers(1, group + 1))
        cut = Schedule(
            groups=groups,
            k=k,
            k_last=min(k, last),
            last_positions=last,
            chunk_groups=chunk_groups,
        )
        most = config.partial_sum_channels // config.columns if chunked else 5
        passes = int(rng.integers(1, min(most, 5) + 1))
        tiles = int(rng.integers(1, 5))
        if tiles * passes * cut.slots <= work:
            break
    else:
        raise ValueError(f"No convolution of {work} weight items was found")
    last_columns = int(rng.integers(1, config.columns + 1))
    channels = (passes - 1) * config.columns + last_columns
    positions = (groups - 1) * group + last
    weights = grouped(
        random_weight(rng, (channels, positions, 1, 1), group=group, k=k), group
    )
    windows = rng.integers(-128, 128, (tiles, positions, config.lanes)).astype(np.int8)
    extremes = rng.choice(np.array([-128, 127], np.int8), windows.shape)
    windows = np.where(rng.random(windows.shape) < 0.1, extremes, windows)
    filled = np.zeros((tiles, groups * group, config.lanes), np.int64)
    filled[:, :positions] = windows
    filled = filled.reshape(tiles, groups, group, config.lanes)
    sums = np.zeros((tiles, cut.chunks, channels, config.lanes), np.int64)
    for chunk in range(cut.chunks):
        part = slice(chunk * chunk_groups, min((chunk + 1) * chunk_groups, groups))
        sums[:, chunk] = np.einsum(
            "cgi,tgil->tcl", weights[:, part].astype(np.int64), filled[:, part]
        )
    layer = Descriptor(
        op=Operation.CONV,
        out_base=int(rng.integers(0, 8)),
        out_pitch=tiles,
        out_tiles=tiles,
        last_lanes=config.lanes,
        chunk_groups=chunk_groups,
        last_chunk_groups=cut.last_chunk_groups,
        chunks=cut.chunks,
        last_positions=last,
        k=k,
        k_last=cut.k_last,
        passes=passes,
        last_columns=last_columns,
        weight_count=passes * cut.slots,
        param_base=int(rng.integers(0, config.parameter_words - channels)),
    )
    return ArrayCase(
        config=config,
        layer=layer,
        items=_integers(pack_weights(weights, cut, config)) * tiles,
        windows=windows,
        sums=sums,
    )


class WindowFeeder:
    """Loader's side of the window ring: one step a clock cycle.

    Parameters
    ----------
    case : whose windows are written, group by group
    rng : seeded source of idle cycles
    stall : probability of an idle cycle
    """

    def __init__(self, case: ArrayCase, rng: Random, stall: float) -> None:
        self._rng, self._stall = rng, stall
        config, positions = case.config, case.windows.shape[1]
        self._free = config.window_groups
        self._writes: list[tuple[int, int, bool, bool]] = []
        slot = 0
        for tile in case.windows:
            for position, lanes in enumerate(tile):
                index = position % config.group
                ends = index == config.group - 1 or position == positions - 1
                word = int.from_bytes(lanes.tobytes(), "little")
                self._writes.append((slot * config.group + index, word, index == 0, ends))
                if ends:
                    slot = (slot + 1) % config.window_groups
        self._writes.reverse()

    def step(self, freed: int) -> tuple[int, int, int, int]:
        """Window valid, address, word and group loaded of the next cycle.

        Parameters
        ----------
        freed : whether the array released a group in the cycle before
        """
        self._free += freed
        if not self._writes or self._rng.random() < self._stall:
            return 0, 0, 0, 0
        address, word, begins, ends = self._writes[-1]
        if begins:
            if not self._free:
                return 0, 0, 0, 0
            self._free -= 1
        self._writes.pop()
        return 1, address, word, int(ends)


class BeatChecker:
    """Compares the beats that leave the array with a case: order, sums, flags, addresses, spacing.

    Call :meth:`step` every clock cycle.
    """

    def __init__(self, case: ArrayCase) -> None:
        self._case = case
        self._layout = Beat(case.config)
        self._cycle = self._seen = 0
        self._begun = -MINIMUM_DRAIN
        self._stored: dict[int, int] = {}
        self._expected = [
            (tile, chunk, channel, beat)
            for tile in range(case.layer.out_tiles)
            for chunk in range(case.layer.chunks)
            for channel in range(case.sums.shape[2])
            for beat in range(case.config.drain_beats)
        ]

    @property
    def complete(self) -> bool:
        """Whether all beats have come."""
        return self._seen == len(self._expected)

    def step(self, valid: int, bits: int) -> None:
        """Check the beat of this cycle.

        Raises
        ------
        AssertionError
            If it is not the next one expected; names its tile, chunk, channel and first lane.
        """
        self._cycle += 1
        if not valid:
            return
        if self.complete:
            raise AssertionError("The array gives more beats than the layer has")
        tile, chunk, channel, beat = place = self._expected[self._seen]
        self._seen += 1
        case, layer, config = self._case, self._case.layer, self._case.config
        actual = self._layout.from_bits(bits)
        lanes = slice(beat * config.requantizers, (beat + 1) * config.requantizers)
        last_chunk = chunk == layer.chunks - 1
        self._check(
            place, "sums", list(actual.data), case.sums[tile, chunk, channel, lanes].tolist()
        )
        self._check(place, "accumulate", actual.accumulate, int(chunk > 0))
        self._check(place, "store", actual.store, int(not last_chunk))
        self._check(place, "hold and join", (actual.hold, actual.join), (0, 0))
        self._check(place, "beat", actual.beat, beat)
        if layer.chunks > 1:
            address = channel * config.drain_beats + beat
            self._check(place, "partial sum", actual.psum, address)
            if chunk and self._cycle - self._stored[address] < MINIMUM_DRAIN:
                raise AssertionError(f"Partial sum {address} is used too soon after it was stored")
            self._stored[address] = self._cycle
        if last_chunk:
            row = layer.out_base + channel * layer.out_pitch + tile
            self._check(place, "row", actual.row, row)
            self._check(place, "parameter", actual.param, layer.param_base + channel)
        if channel % config.columns == 0 and beat == 0:
            if self._cycle - self._begun < MINIMUM_DRAIN:
                raise AssertionError(f"Two drains begin {self._cycle - self._begun} cycles apart")
            self._begun = self._cycle

    def _check(self, place: tuple[int, int, int, int], what: str, is_: object, want: object) -> None:
        if is_ != want:
            tile, chunk, channel, beat = place
            raise AssertionError(
                f"Tile {tile}, chunk {chunk}, channel {channel}, lane "
                f"{beat * self._case.config.requantizers}: {what} {is_} instead of {want}"
            )


# The whole accelerator


def random_program(
    seed: int, config: ArrayConfig, *, cycles: int = 4000, words: int = 2500
) -> tuple[Program, NDArray[np.int8]]:
    """Random program with one batch of inputs, int8 (batch, channels, height, width).

    Mostly single convolutions with kernels of 1 to 7, the rest chains of all kinds of layers.

    Parameters
    ----------
    cycles : limit of the predicted cycles
    words : limit of the 32-bit words to upload
    """
    rng = np.random.default_rng([seed, 2])
    for _ in range(ATTEMPTS):
        try:
            network, k = _random_network(rng, config)
            batch = int(rng.choice([1, 1, 1, 2, 3, 5]))
            program = compile(network, config, batch=batch, k=k)
        except UserError:
            # The draw does not fit its map or the configuration: the next one may.
            continue
        x = random_input(network, batch, int(rng.integers(1 << 32)))
        upload = program.weights.size + program.parameters.size + x.size // 4
        if sum(entry.predicted_cycles for entry in program.layers) <= cycles and upload <= words:
            return program, x
    raise ValueError(f"No program of {cycles} cycles was found")


def _random_network(rng: np.random.Generator, config: ArrayConfig) -> tuple[Network, int | str]:
    """Network, and the K to compile it for."""
    group = config.group
    kept = None if rng.random() < 0.15 else int(rng.integers(1, group + 1))
    k: int | str = "auto" if kept is None or rng.random() < 0.7 else int(rng.integers(kept, group + 1))
    if rng.random() < 0.3:
        network = random_network(
            int(rng.integers(1 << 32)),
            layers=int(rng.integers(2, 5)),
            max_pixels=40,
            max_channels=2 * config.columns + 1,
            group=group,
            k=kept,
        )
        return network, k
    kernel = int(rng.integers(1, 8)), int(rng.integers(1, 8))
    top, left, bottom, right = (int(rng.integers(0, side)) for side in (*kernel, *kernel))
    unpadded = bool(rng.random() < 0.3)
    network = random_conv(
        rng,
        in_channels=int(rng.integers(1, 10)),
        out_channels=int(rng.integers(1, 3 * config.columns + 2)),
        size=(int(rng.integers(1, 11)), int(rng.integers(1, 11))),
        kernel=kernel,
        stride=int(rng.integers(1, 3)),
        padding=(0, 0, 0, 0) if unpadded else (top, left, bottom, right),
        k=kept,
        group=group,
        fully_connected=bool(rng.random() < 0.15),
    )
    return network, k


@dataclass(kw_only=True)
class Script:
    """Words for the host port that upload a program, run it and read everything back.

    Build it with :meth:`of`, send :attr:`words`, receive :attr:`answers` words, then
    :meth:`check` them.
    """

    program: Program
    x: NDArray[np.int8]
    words: list[int] = field(default_factory=list)
    answers: int = 0
    _outputs: dict[int, slice] = field(default_factory=dict)
    _counters: slice = slice(0)
    _status: slice = slice(0)

    @classmethod
    def of(
        cls, program: Program, x: NDArray[np.int8], rng: Random, *, layerwise: bool = False
    ) -> "Script":
        """Script of a program and one batch of inputs.

        Parameters
        ----------
        rng : seeded source of the invalid commands strewn in
        layerwise : whether each layer is started and read back by itself
        """
        script = cls(program=program, x=x)

        def write(space: int, address: int, data: Iterable[int]) -> None:
            data = [int(word) for word in data]
            if rng.random() < 0.3:
                script.words.append(rng.choice(INVALID_COMMANDS))
            script.words += [0x01000000 | space, address, len(data), *data]

        def read(space: int, address: int, count: int) -> slice:
            script.words += [0x02000000 | space, address, count]
            script.answers += count
            return slice(script.answers - count, script.answers)

        def start(first: int, count: int) -> None:
            if rng.random() < 0.3:
                script.words.append(rng.choice(INVALID_COMMANDS))
            script.words += [0x03000000, first, count]

        write(DESCRIPTORS, 0, program.descriptors.reshape(-1))
        write(PARAMETERS, 0, program.parameters.reshape(-1))
        write(WEIGHTS, 0, program.weights.reshape(-1))
        write(ACTIVATIONS, program.input.base, program.pack_activations(x))
        if not layerwise:
            start(0, len(program.descriptors))
        for index, entry in enumerate(program.layers):
            if layerwise:
                start(entry.first, entry.count)
            if layerwise or index == len(program.layers) - 1:
                plane = entry.output
                count = plane.words * program.config.activation_item_words
                script._outputs[index] = read(ACTIVATIONS, plane.base, count)
        script._counters = read(COUNTERS, 0, 8 * len(program.descriptors))
        script._status = read(REGISTERS, STATUS_REGISTER, 1)
        return script

    def __str__(self) -> str:
        d = Descriptor.from_words(self.program.descriptors[0])
        layers = ", ".join(layer.kind for layer in self.program.network.layers)
        return (
            f"{layers}; first layer {self.x.shape[1]} channels of {d.in_h}x{d.in_w}, kernel "
            f"{d.kernel_h}x{d.kernel_w}, stride {d.stride}, K {d.k}, {d.chunks} chunks, "
            f"{d.passes} passes, batch {d.batch}"
        )

    def check(self, received: list[int]) -> Mismatch | None:
        """First element of a layer that was read back and differs from the golden model.

        Raises
        ------
        AssertionError
            If counters or status are not those of the program.
        """
        trace = golden.run(self.program.network, self.x, trace=True, threads=1)
        for index, place in self._outputs.items():
            layer = self.program.network.layers[index]
            expected = trace[layer.output]
            words = np.array(received[place], np.uint32)
            actual = self.program.unpack_activations(words, expected.shape[1:])
            different = expected != actual
            if different.any():
                image, channel, row, column = map(int, np.argwhere(different)[0])
                return Mismatch(
                    layer=layer.name,
                    image=image,
                    channel=channel,
                    row=row,
                    column=column,
                    expected=int(expected[image, channel, row, column]),
                    actual=int(actual[image, channel, row, column]),
                    differing=int(different.sum()),
                    compared=expected.size,
                )
        self._check_counters(np.array(received[self._counters]).reshape(-1, 8))
        if received[self._status] != [DONE]:
            raise AssertionError(f"Status is {received[self._status]} instead of done and idle")
        return None

    def _check_counters(self, counters: NDArray[np.int64]) -> None:
        config = self.program.config
        for number, words in enumerate(self.program.descriptors):
            d = Descriptor.from_words(words)
            taps = d.kernel_h * d.kernel_w * d.in_channels
            channels = d.in_channels
            if d.op == Operation.CONV:
                channels = (d.passes - 1) * config.columns + d.last_columns
            elif d.op == Operation.ADD:
                taps *= 2
            vector = 0 if d.op == Operation.CONV else taps
            cycles, issue, load, weights, drain, loaded, written, vectors = counters[number].tolist()
            actual = [issue, loaded, written, vectors]
            expected = [d.weight_count, taps, channels, vector]
            if actual != [d.out_tiles * each for each in expected]:
                raise AssertionError(
                    f"Descriptor {number} counts {actual} (issue, loaded, written, vector) "
                    f"instead of {expected} for each of {d.out_tiles} tiles"
                )
            if cycles < issue + load + weights + drain:
                raise AssertionError(f"Descriptor {number} is busier than its {cycles} cycles")
