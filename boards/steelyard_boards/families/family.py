"""What the families of FPGA have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from steelyard.contract.accelerator import ArrayConfig
from steelyard.contract.registers import COUNTERS
from steelyard.contract.tile import TileConfig
from steelyard_hw.cells.target import Target
from steelyard_hw.shell.layer import DESCRIPTOR_WORDS

__all__ = ["Clock", "Demand", "Device", "Family"]


class Clock(wiring.Component, ABC):
    """Clock of a design from the board's oscillator, which it requests from the platform.

    Parameters
    ----------
    input_hz, clock_hz : :class:`int`
        Frequencies of the oscillator and of the clock.

    Attributes
    ----------
    reset_less : :class:`bool`
        The clock stands still until it is good, and `reset` stays 0. Registers then start as the
        bitstream sets them, and the link resets the accelerator.

    Members
    -------
    clock : ``Out(1)``
    reset : ``Out(1)``
        High until the clock is good, synchronous to it.

    Raises
    ------
    UserError
        If this clock cannot be made.
    """

    reset_less: ClassVar[bool] = True

    def __init__(self, input_hz: int, clock_hz: int):
        self._input_hz = input_hz
        self._clock_hz = clock_hz
        super().__init__({"clock": Out(1), "reset": Out(1)})

    @classmethod
    @abstractmethod
    def check(cls, input_hz: int, clock_hz: int) -> None:
        """Refuse a clock that cannot be made.

        Raises
        ------
        UserError
            The sentence names both frequencies.
        """


@dataclass(frozen=True)
class Demand:
    """What a configuration needs, with link and clock.

    Attributes
    ----------
    luts : the family's LUTs, a fit within about 10 % of what placement counts
    block_rams, multipliers : exactly as many as the build takes; for a crossbar tile exact on the
        ECP5 alone
    large_rams : RAMs with one port, for the weights of a compact configuration where the family
        has them
    """

    luts: int
    block_rams: int
    multipliers: int
    large_rams: int = 0


@dataclass(frozen=True)
class Family:
    """FPGAs with the same cells, clocks and tools.

    Attributes
    ----------
    name : what its maker calls it
    toolchain : what places and routes it
    target : whose cells the gateware instantiates
    lut, block_ram, multiplier : names of the cells that are counted
    block_ram_shapes : words and bits of a block RAM as synthesis uses it
    block_ram_bytes : bytes of one, without parity bits
    large_ram : words and bits of a RAM with one port, which takes the weights of a compact
        configuration; zeros for none
    clock : makes the design's clock
    synthesis : options of yosys' synthesis
    inference : further ones that make multipliers of plain arithmetic, one a lane; without
        effect on compact configurations, which have multipliers of the family's own alone
    routable : share of a device's LUTs beyond which the router does not find all wires
    growth : cells placed for each one of the LUT estimate, which counts those of an ECP5
    lanes_per_multiplier : lanes that one multiplier serves
    paired_stages : the configuration's `multiplier_stages` with which one serves two, 0 for none
    pair_luts : LUTs that each lane needs more where one multiplier serves two
    requantizer_multipliers : multipliers of one requantizer
    multiplier_luts : LUTs of a multiplier that weights take where the family has none, else 0
    seeds : placements that a build tries unless told otherwise
    """

    name: str
    toolchain: str
    target: Target
    lut: str
    block_ram: str
    multiplier: str
    block_ram_shapes: Sequence[tuple[int, int]]
    block_ram_bytes: int
    clock: type[Clock]
    synthesis: str = ""
    inference: str = ""
    routable: float = 0.9
    growth: float = 1.0
    lanes_per_multiplier: int = 1
    paired_stages: int = 0
    pair_luts: int = 0
    requantizer_multipliers: int = 3
    multiplier_luts: int = 0
    large_ram: tuple[int, int] = (0, 0)
    seeds: int = 3

    def synthesis_of(self, config: ArrayConfig) -> str:
        """Options of yosys' synthesis for a configuration."""
        return self.synthesis if config.compact else f"{self.synthesis} {self.inference}".strip()

    def demand(self, config: ArrayConfig) -> Demand:
        """Needs of a configuration; LUTs as placement counts them, within about 10 %."""
        memories, large_rams = [*_memories(config)], 0
        depth, bits = self.large_ram
        if depth and config.compact:
            large_rams = sum(-(-d // depth) * -(-b // bits) for d, b in _weight_memories(config))
        else:
            memories += _weight_memories(config)
        return Demand(
            luts=self._luts(config),
            block_rams=sum(self._block_rams(depth, bits) for depth, bits in memories),
            multipliers=self._multipliers(config),
            large_rams=large_rams,
        )

    def _luts(self, config: ArrayConfig) -> int:
        """Linear fit (docs/notes/bitstreams.md); placement adds cells where carry chains end."""
        if config.compact:
            return _compact_luts(config) + self.multiplier_luts * config.macs_per_cycle
        if isinstance(config, TileConfig):
            engine, products = _tile_luts(config), _tile_multipliers(config)
        else:
            mac = 47 + (self.pair_luts if self._paired(config) else 0)
            engine, products = 4200 + mac * config.macs_per_cycle, config.macs_per_cycle
        synthesized = engine + 620 * config.requantizers + 190 * config.lanes
        return round(self.growth * round(1.09 * synthesized)) + self.multiplier_luts * products

    def _multipliers(self, config: ArrayConfig) -> int:
        if self.multiplier_luts:
            return 0
        if isinstance(config, TileConfig):
            return _tile_multipliers(config) + self.requantizer_multipliers * config.requantizers
        shared = 2 if self._paired(config) else self.lanes_per_multiplier
        column = -(-config.lanes // shared)
        each = self.requantizer_multipliers if config.requantizer_cycles == 1 else 0
        return column * config.columns + each * config.requantizers

    def _paired(self, config: ArrayConfig) -> bool:
        """Whether two lanes share a multiplier of the family's own."""
        inferred = bool(self.inference) and not config.compact
        return config.multiplier_stages == self.paired_stages and not inferred

    def _block_rams(self, depth: int, bits: int) -> int:
        """Block RAMs of a memory, in the shape that takes fewest."""
        return min(-(-depth // words) * -(-bits // width) for words, width in self.block_ram_shapes)


def _compact_luts(config: ArrayConfig) -> int:
    """Fit to compact configurations of 4 lanes on the iCE40 (docs/notes/small-boards.md)."""
    lane = 2 * config.accumulator_bits
    return 3500 + 110 * config.lanes + config.columns * (config.lanes * lane + 30)


def _tile_luts(config: TileConfig) -> int:
    """Fit to crossbar tiles on the ECP5 (docs/notes/bitstreams.md), less what all engines have.

    Each cell of an operation unit gates its bits for every lane and adds them to its bitline; each
    weight has an accumulator in every lane.
    """
    unit = config.crossbar
    bits = unit.cell_bits * (1 if _products(config) else unit.dac_bits)
    cells = config.lanes * unit.ou_rows * config.item_columns
    return round(4100 + 3.3 * cells * bits + 119 * config.lanes * config.item_weights)


def _products(config: TileConfig) -> bool:
    """Whether inputs and cells of a tile are both of several bits, and a multiplier's work."""
    return config.crossbar.dac_bits > 1 and config.crossbar.cell_bits > 1


def _tile_multipliers(config: TileConfig) -> int:
    """Multipliers of the counters, and of the cells where these take any."""
    cells = config.lanes * config.crossbar.ou_rows * config.item_columns
    return (3 if config.ou_parallel == 1 else 6) + cells * _products(config)


def _weight_memories(config: ArrayConfig) -> list[tuple[int, int]]:
    """Words and bits of the memories of the weights, one for each 32-bit word of an item."""
    words, rest = divmod(config.columns * config.weight_bits, 32)
    widths = [32] * words + [rest] * (rest > 0)
    return [(config.weight_words, width) for width in widths]


def _memories(config: ArrayConfig) -> Iterator[tuple[int, int]]:
    """Words and bits of every other memory that becomes block RAM."""
    for _ in range(config.columns):
        yield config.window_groups * config.group, 8 * config.lanes
    if isinstance(config, TileConfig):
        yield config.partial_sum_channels, 32 * config.lanes
        yield config.max_layers * len(COUNTERS), 64
    else:
        yield config.partial_sum_channels * config.drain_beats, 32 * config.requantizers
    for _ in range(config.lanes):
        yield config.activation_words, 8
    for _ in range(2):
        yield config.parameter_words, 32
        yield config.link_words, 32
    yield config.max_layers * DESCRIPTOR_WORDS, 32
    yield config.max_layers * len(COUNTERS), 32


@dataclass(frozen=True)
class Device:
    """FPGA with what it has.

    Attributes
    ----------
    luts : cells that placement counts as the family's LUTs
    block_rams, multipliers : blocks of these
    flip_flops : registers
    large_rams : RAMs with one port
    """

    name: str
    family: Family
    luts: int
    flip_flops: int
    block_rams: int
    multipliers: int
    large_rams: int = 0

    @property
    def block_ram_bytes(self) -> int:
        """Bytes of all RAMs, without their parity bits."""
        depth, bits = self.family.large_ram
        return self.block_rams * self.family.block_ram_bytes + self.large_rams * depth * bits // 8
