"""Random layers for the bare crossbar tile, with the sums and counts that must come of them.

Everything follows from a seed and knows no simulator.
"""

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from steelyard.compile import Descriptor, Operation, compile
from steelyard.contract import AcceleratorConfig, configure
from steelyard.contract.registers import COUNTERS, UNIT_COUNTERS, Space
from steelyard.engines.crossbar import (
    MAPPINGS,
    Counts,
    CrossbarConfig,
    DeviceEffects,
    LayerMapping,
    count,
    map_layer,
    run,
)
from steelyard.engines.crossbar.arithmetic import Crossbars
from steelyard.engines.crossbar.crossbar import (
    ADC_RANGES,
    ADC_RESOLVES,
    ADC_ROUNDINGS,
    OU_FORMATIONS,
    SIGNED_SCHEMES,
)
from steelyard.engines.crossbar.weights import pack_layer
from steelyard.errors import UserError
from steelyard.network.random import random_input
from steelyard.program import Program
from steelyard_hw.output.stage import Beat

from .program import Script, random_case_network

__all__ = [
    "CrossbarTileCase",
    "CrossbarTileChecker",
    "CrossbarTileScript",
    "random_crossbar",
    "random_crossbar_tile_case",
    "random_crossbar_tile_config",
    "random_crossbar_tile_program",
]

ATTEMPTS = 1000


def random_crossbar(rng: np.random.Generator, *, cells: int = 240) -> CrossbarConfig:
    """Random crossbar, over every field, with operation units of at most `cells` cells, from 16."""
    for _ in range(ATTEMPTS):
        cell_bits, dac_bits = (int(rng.choice([1, 2, 4, 8])) for _ in range(2))
        signed = str(rng.choice(SIGNED_SCHEMES))
        bitlines = 8 // cell_bits * (2 if signed == "differential" else 1)
        ou_rows = int(rng.integers(1, 21))
        ou_columns = bitlines * int(rng.integers(1, 5))
        if ou_rows * ou_columns > cells:
            continue
        greatest = ou_rows * ((1 << dac_bits) - 1) * ((1 << cell_bits) - 1)
        ideal = greatest.bit_length()
        return CrossbarConfig(
            rows=ou_rows + int(rng.integers(0, 40)),
            columns=ou_columns + bitlines * int(rng.integers(0, 8)),
            ou_rows=ou_rows,
            ou_columns=ou_columns,
            cell_bits=cell_bits,
            dac_bits=dac_bits,
            adc_bits=int(rng.integers(1, ideal + 2)),
            adc_range=str(rng.choice(ADC_RANGES)),
            adc_rounding=str(rng.choice(ADC_ROUNDINGS)),
            signed=signed,
        )
    raise ValueError(f"No operation unit of {cells} cells was found")


def random_crossbar_tile_config(rng: np.random.Generator, *, cells: int = 240) -> AcceleratorConfig:
    """Random small tile around a random crossbar."""
    lanes = int(rng.choice([4, 4, 8]))
    parallel = int(rng.choice([1, 1, 2, 4]))
    return configure(
        "crossbar",
        lanes=lanes,
        group=int(rng.choice([4, 8])),
        requantizers=lanes >> int(rng.integers(0, 3)),
        window_groups=int(rng.choice([8, 16])),
        activation_words=256,
        weight_words=1024,
        parameter_words=48,
        partial_sum_channels=int(rng.integers(1, 33)),
        max_layers=8,
        ou_parallel=parallel,
        crossbar=random_crossbar(rng, cells=cells // parallel),
    )


def unit_counts(counts: Counts, unit: CrossbarConfig) -> tuple[int, ...]:
    """Those that a tile of such units counts, in its order."""
    names = UNIT_COUNTERS if unit.adc_resolve == "reach" else UNIT_COUNTERS[:-2]
    return tuple(getattr(counts, name) for name in names)


@dataclass(frozen=True, kw_only=True)
class CrossbarTileCase:
    """Layer for the bare tile.

    Members
    -------
    layer : descriptor
    items : weight items of the whole layer, in order
    windows : activations, int8 (tiles, positions, lanes), any in lanes that are not in use
    sums : expected sums over activations offset by 128, int64 (tiles, channels, lanes)
    counts : expected counts, in the order of the tile's counters
    """

    config: AcceleratorConfig
    layer: Descriptor
    mapping: LayerMapping
    items: list[int]
    windows: NDArray[np.int8]
    sums: NDArray[np.int64]
    counts: tuple[int, ...]

    def __str__(self) -> str:
        return (
            f"{self.config.engine.crossbar.canonical()}, {self.mapping.mapping}, "
            f"{self.layer.out_tiles} tiles of {self.config.engine.lanes}, {self.windows.shape[1]} "
            f"positions -> {self.sums.shape[1]} channels, {len(self.items)} items"
        )


def random_crossbar_tile_case(
    seed: int, config: AcceleratorConfig | None = None, *, cycles: int = 1500, cells: int = 240
) -> CrossbarTileCase:
    """Random layer of about `cycles` steps at most, by any mapping, in part with device effects.

    Weights and activations are of any density from nothing to dense. Converters of random
    configurations stop at the bits that bitlines reach where the seed is odd, and rows with an
    input bit form their operation units where half of it is.

    Parameters
    ----------
    config : of the tile, by default a random one
    cells : of an operation unit of a random configuration, at most
    """
    rng = np.random.default_rng([seed, 3])
    given = config
    for _ in range(ATTEMPTS):
        config = given or random_crossbar_tile_config(rng, cells=cells)
        if given is None:
            # Not drawn, so that what follows is the same for both.
            unit = config.engine.crossbar.with_(
                adc_resolve=ADC_RESOLVES[seed % 2], ou_formation=OU_FORMATIONS[seed // 2 % 2]
            )
            config = config.with_(crossbar=unit)
        kernel = int(rng.choice([1, 1, 2, 3]))
        inputs = int(rng.integers(1, 9))
        positions = kernel * kernel * inputs
        groups = -(-positions // config.engine.group)
        channels = int(rng.integers(1, config.engine.partial_sum_channels + 1))
        if groups > config.engine.window_groups:
            continue
        weight = rng.integers(-127, 128, (channels, inputs, kernel, kernel)).astype(np.int8)
        weight[rng.random(weight.shape) < rng.choice([0, 0, 0.5, 0.8, 1])] = 0
        name = str(rng.choice(list(MAPPINGS)))
        mapping = map_layer(weight, config.engine.crossbar, name)
        tiles = int(rng.integers(1, 4))
        if tiles * mapping.operation_units * config.engine.crossbar.steps > cycles:
            continue
        effects = None
        if rng.random() < 0.3:
            effects = DeviceEffects(
                seed=seed, stuck_at_zero=30_000, stuck_at_one=20_000, deviating=100_000, deviation=2
            )
        items = pack_layer(mapping, config, effects)
        last_lanes = int(rng.integers(1, config.engine.lanes + 1))
        windows = rng.integers(-128, 128, (tiles, positions, config.engine.lanes)).astype(np.int8)
        windows[rng.random(windows.shape) < rng.choice([0, 0.5, 0.9, 1])] = -128
        pixels = windows.transpose(1, 0, 2).reshape(positions, -1).view(np.uint8) ^ np.uint8(0x80)
        used = (
            np.arange(tiles * config.engine.lanes) < (tiles - 1) * config.engine.lanes + last_lanes
        )
        sums = np.zeros((len(used), channels), np.int64)
        sums[used] = Crossbars(mapping, effects).accumulate(pixels[:, used])
        counts = count(mapping, pixels[:, used], effects).counts
        layer = Descriptor(
            op=Operation.CONV,
            out_base=int(rng.integers(0, 8)),
            out_pitch=tiles,
            out_tiles=tiles,
            last_lanes=last_lanes,
            chunks=groups,
            passes=channels,
            last_columns=1,
            weight_count=len(items),
            param_base=int(rng.integers(0, config.memory.parameter_words - channels)),
        )
        return CrossbarTileCase(
            config=config,
            layer=layer,
            mapping=mapping,
            items=[int.from_bytes(row.astype("<u4").tobytes(), "little") for row in items] * tiles,
            windows=windows,
            sums=sums.reshape(tiles, config.engine.lanes, channels).transpose(0, 2, 1),
            counts=unit_counts(counts, config.engine.crossbar),
        )
    raise ValueError(f"No layer of {cycles} steps was found")


class CrossbarTileChecker:
    """Compares the beats that leave the tile with a case; call :meth:`step` for every beat."""

    def __init__(self, case: CrossbarTileCase) -> None:
        self._case = case
        self._layout = Beat(case.config)
        self._expected = [
            (tile, channel, beat)
            for tile in range(case.layer.out_tiles)
            for channel in range(case.layer.passes)
            for beat in range(case.config.drain_beats)
        ]
        self._seen = 0

    @property
    def complete(self) -> bool:
        """Whether all beats have come."""
        return self._seen == len(self._expected)

    def step(self, bits: int) -> None:
        """Check the next beat.

        Raises
        ------
        AssertionError
            If it is not the one expected; names its tile, channel and first lane.
        """
        if self.complete:
            raise AssertionError("The tile gives more beats than the layer has")
        tile, channel, beat = self._expected[self._seen]
        self._seen += 1
        layer, config = self._case.layer, self._case.config
        actual = self._layout.from_bits(bits)
        first = beat * config.output.requantizers
        sums = self._case.sums[tile, channel, first : first + config.output.requantizers].tolist()
        # Sums of lanes that are not in use are 0 here and there.
        seen = (
            list(actual.data),
            actual.row,
            actual.param,
            actual.beat,
            (actual.accumulate, actual.store),
        )
        row = layer.out_base + channel * layer.out_pitch + tile
        wanted = (sums, row, layer.param_base + channel, beat, (0, 0))
        if seen != wanted:
            raise AssertionError(
                f"Tile {tile}, channel {channel}, lane {first}: {seen} instead of {wanted}"
            )


class CrossbarTileScript(Script):
    """Script of a program for the tile, which also reads the counters of its operation units."""

    def __init__(
        self, program: Program, x: NDArray[np.int8], rng: Random, *, layerwise: bool = False
    ) -> None:
        super().__init__(program, x, rng, layerwise=layerwise)
        self._units = self._read(Space.UNITS, 0, 2 * len(COUNTERS) * len(program.descriptors))
        config = program.config
        if config.engine.kind != "crossbar":
            raise TypeError(f"Program must be one for the tile, not for {config!r}")
        mapping = program.mapping
        self.result = run(program.network, mapping, x, effects=program.settings.effects)

    def _golden(self) -> dict[str, NDArray[np.int8]]:
        return self.result.tensors

    def _check_counters(self, counters: NDArray[np.int64], received: list[int]) -> None:
        program = self.program
        units = np.array(received[self._units], np.uint32).view("<u8").reshape(-1, 8)
        for number, layer in enumerate(program.network.layers):
            d = Descriptor.from_words(program.descriptors[number])
            expected = unit_counts(Counts(), program.config.engine.crossbar)
            written = d.in_channels
            if layer.name in self.result.layers:
                counts = self.result.layers[layer.name].counts
                expected = unit_counts(counts, program.config.engine.crossbar)
                written = d.passes
            own = len(expected)
            if tuple(units[number, :own].tolist()) != expected or units[number, own:].any():
                raise AssertionError(
                    f"Layer {layer.name!r} counts {units[number].tolist()} instead of {expected}"
                )
            if counters[number, 6] != d.out_tiles * written:
                raise AssertionError(f"Layer {layer.name!r} writes {counters[number, 6]} words")


def random_crossbar_tile_program(
    seed: int, config: AcceleratorConfig, *, cycles: int = 4000, words: int = 2500
) -> tuple[Program, NDArray[np.int8]]:
    """Random program for the tile with one batch of inputs, int8 (batch, ...).

    Parameters are those of :func:`.program.random_program`.
    """
    rng = np.random.default_rng([seed, 4])
    refused: UserError | None = None
    for _ in range(ATTEMPTS):
        try:
            network, _ = random_case_network(rng, config)
            batch = int(rng.choice([1, 1, 1, 2, 3, 5]))
            program = compile(network, config, batch=batch, mapping=str(rng.choice(list(MAPPINGS))))
        except UserError as error:
            # The draw does not fit its map or the configuration: the next one may.
            refused = error
            continue
        x = random_input(network, batch, int(rng.integers(1 << 32)))
        upload = program.weights.size + program.parameters.size + x.size // 4
        if sum(entry.predicted_cycles for entry in program.layers) <= cycles and upload <= words:
            return program, x
    raise ValueError(f"No program of {cycles} cycles was found") from refused
