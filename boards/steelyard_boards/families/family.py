"""What the families of FPGA have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from steelyard.contract import AcceleratorConfig, registry
from steelyard.contract.latencies import TABLE_CYCLES
from steelyard.contract.registers import COUNTERS
from steelyard.errors import UserError
from steelyard_hw.cells.target import Target
from steelyard_hw.shell.layer import DESCRIPTOR_WORDS

from .memories import RamCosts, mapped

__all__ = ["Clock", "Demand", "Device", "Family"]


class Clock(wiring.Component, ABC):
    """Clock of a design from the board's oscillator, which it requests from the platform.

    Parameters
    ----------
    input_hz, clock_hz : :class:`int`
        Frequencies of the oscillator and of the clock.
    slots : :class:`int`
        Clocks of an external memory in one of the design: with 2 there is a clock for it.

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
    memory : ``Out(1)``
        Clock of an external memory, twice as fast and a little ahead; only with 2 slots, which the
        ECP5 alone has.

    Raises
    ------
    UserError
        If this clock cannot be made.
    """

    reset_less: ClassVar[bool] = True

    def __init__(self, input_hz: int, clock_hz: int, slots: int = 1):
        self._input_hz = input_hz
        self._clock_hz = clock_hz
        self._slots = slots
        super().__init__({"clock": Out(1), "reset": Out(1), "memory": Out(1)})

    @classmethod
    @abstractmethod
    def check(cls, input_hz: int, clock_hz: int) -> None:
        """Refuse a clock that cannot be made.

        Raises
        ------
        UserError
            The sentence names both frequencies.
        """

    @classmethod
    def check_memory(cls, input_hz: int, clock_hz: int, slots: int) -> None:
        """Refuse a clock of an external memory that cannot be made.

        Raises
        ------
        UserError
            If that is so.
        """
        if slots > 1:
            raise UserError(
                "This family has no clock for an external memory of 2 slots; set external_slots "
                "to 1."
            )


EXTERNAL_LUTS = 970
"""Of an SDRAM's controller, of what guards its port, and of the mover (docs/notes/sdram.md)."""


@dataclass(frozen=True)
class Demand:
    """What a configuration needs, with link and clock.

    Attributes
    ----------
    luts : the family's LUTs, an estimate; see :attr:`Family.luts_error`
    block_rams, multipliers : as many as the build takes; for a crossbar tile exact on the ECP5
        alone
    large_rams : RAMs with one port, for the weights of a configuration without a queue of them,
        where the family has them
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
    ram_costs : by which synthesis chooses a memory's cells; None where it takes the fewest block
        RAMs, as far as is known
    large_ram : words and bits of a RAM with one port, which takes the weights of a configuration
        without a queue of them; zeros for none
    clock : makes the design's clock
    synthesis : options of yosys' synthesis
    inference : further ones that make multipliers of plain arithmetic, one a lane; not for
        configurations that take multipliers of the family's own alone
    routable : share of a device's LUTs beyond which the router does not find all wires
    growth : cells placed for each one of the LUT estimate, which counts those of an ECP5
    lanes_per_multiplier : lanes that one multiplier serves
    paired_stages : the configuration's `multiplier_stages` with which one serves two, 0 for none
    pair_luts : LUTs that each lane needs more where one multiplier serves two
    array_luts : LUTs of a configuration with a sparse array and requantizers of a beat a cycle, by
        a law of its own; None where the ECP5's old fit times `growth` serves
    luts_error : how far these were from what was built, at most, as a share; None if that was not
        measured on configurations that the law does not come from
    array_fmax : highest clock, MHz, of such a configuration, with so many LUTs and in a speed
        grade; None where no such law is known
    fmax_error : share within which nine of ten placements were of it, of configurations that the
        law does not come from; None as above
    requantizer_multipliers : multipliers of one requantizer, without pairs of activations
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
    ram_costs: RamCosts | None = None
    # Without its address, which differs from process to process: jobs are named by boards.
    array_luts: Callable[[AcceleratorConfig], int] | None = field(default=None, repr=False)
    luts_error: float | None = None
    array_fmax: Callable[[AcceleratorConfig, int, int], float] | None = field(
        default=None, repr=False
    )
    fmax_error: float | None = None
    seeds: int = 3

    def synthesis_of(self, config: AcceleratorConfig) -> str:
        """Options of yosys' synthesis for a configuration."""
        if not config.engine.infers_multipliers:
            return self.synthesis
        return f"{self.synthesis} {self.inference}".strip()

    def demand(self, config: AcceleratorConfig) -> Demand:
        """Needs of a configuration; LUTs as placement counts them, by a fit."""
        memories, large_rams = [*_memories(config)], 0
        depth, bits = self.large_ram
        if depth and not config.memory.weight_queue:
            large_rams = sum(-(-d // depth) * -(-b // bits) for d, b in _weight_memories(config))
        else:
            memories += _weight_memories(config)
        return Demand(
            luts=self._luts(config),
            block_rams=sum(self._block_rams(depth, bits) for depth, bits in memories),
            multipliers=self._multipliers(config),
            large_rams=large_rams,
        )

    def engine_multipliers(self, config: AcceleratorConfig) -> int:
        """Multipliers of the engine alone."""
        if self.multiplier_luts:
            return 0
        shared = 2 if self._paired(config) else self.lanes_per_multiplier
        multipliers: int = registry.engine(config.engine.kind).multipliers(config, shared)
        return multipliers

    def error_of(self, config: AcceleratorConfig) -> float | None:
        """How far an estimate of LUTs is off at most, as a share; None if that is not known."""
        return self.luts_error if self.has_law(config) else None

    def has_law(self, config: AcceleratorConfig) -> bool:
        """Whether LUTs of a configuration follow a law of the family's own."""
        array = config.engine.kind == "array" and config.output.requantizer_cycles == 1
        return array and self.array_luts is not None

    def _luts(self, config: AcceleratorConfig) -> int:
        """Linear fit (docs/notes/bitstreams.md); placement adds cells where carry chains end."""
        if self.array_luts is not None and self.has_law(config):
            return self.array_luts(config)
        engine = registry.engine(config.engine.kind)
        own = engine.luts(config, self.pair_luts if self._paired(config) else 0)
        products: int = self.multiplier_luts * engine.products(config)
        if config.output.requantizer_cycles > 1:
            return own + products
        # Operators: docs/notes/operators.md.
        each = 544 + 55 * config.output.tables + 30 * config.output.slopes
        each += 547 * config.fuses_additions
        if config.vector.pairs:
            each += 268 if config.vector.additions else 136
        lane = 190 + 26 * config.vector.adds_lanes
        synthesized = own + each * config.output.requantizers + lane * config.engine.lanes
        if config.memory.external_words:
            synthesized += EXTERNAL_LUTS
        return round(self.growth * round(1.09 * synthesized)) + products

    def _multipliers(self, config: AcceleratorConfig) -> int:
        if self.multiplier_luts:
            return 0
        each = self.multipliers_of_requantizer(config)
        return self.engine_multipliers(config) + each * config.output.requantizers

    def multipliers_of_requantizer(self, config: AcceleratorConfig) -> int:
        """Multipliers of each requantizer, with those of pairs and of fused additions."""
        if config.output.requantizer_cycles > 1:
            return 0
        return self.requantizer_multipliers + config.vector.pairs + 2 * config.fuses_additions

    def _paired(self, config: AcceleratorConfig) -> bool:
        """Whether two lanes share a multiplier of the family's own."""
        inferred = bool(self.inference) and config.engine.infers_multipliers
        return 0 < config.engine.paired_stages == self.paired_stages and not inferred

    def _block_rams(self, depth: int, bits: int) -> int:
        """Block RAMs of a memory; none of one made of LUTs."""
        return mapped(tuple(self.block_ram_shapes), depth, bits, self.ram_costs).block_rams


def _weight_memories(config: AcceleratorConfig) -> list[tuple[int, int]]:
    """Words and bits of the memories of the weights, one for each 32-bit word of an item."""
    words, rest = divmod(config.engine.weight_item_bits, 32)
    widths = [32] * words + [rest] * (rest > 0)
    return [(config.memory.weight_words, width) for width in widths]


def _memories(config: AcceleratorConfig) -> Iterator[tuple[int, int]]:
    """Words and bits of every other memory that becomes block RAM."""
    yield from registry.engine(config.engine.kind).memories(config)
    for _ in range(config.banks):
        yield config.memory.activation_words >> config.load.wide_reads, 8
    for bits in config.parameter_bits:
        yield config.memory.parameter_words, bits
    for _ in range(2):
        yield config.link.words, 32
    for _ in range(config.output.requantizers if config.output.tables else 0):
        yield TABLE_CYCLES, 32
    yield config.memory.max_layers * DESCRIPTOR_WORDS, 32
    yield config.memory.max_layers * len(COUNTERS), 32


@dataclass(frozen=True)
class Device:
    """FPGA with what it has.

    Attributes
    ----------
    luts : cells that placement counts as the family's LUTs
    block_rams, multipliers : blocks of these
    flip_flops : registers
    large_rams : RAMs with one port
    speed_grade : how fast its cells are, in the maker's count; 0 where no law wants it
    """

    name: str
    family: Family
    luts: int
    flip_flops: int
    block_rams: int
    multipliers: int
    large_rams: int = 0
    speed_grade: int = 0

    @property
    def block_ram_bytes(self) -> int:
        """Bytes of all RAMs, without their parity bits."""
        depth, bits = self.family.large_ram
        return self.block_rams * self.family.block_ram_bytes + self.large_rams * depth * bits // 8

    def fmax_of(self, config: AcceleratorConfig) -> float | None:
        """Highest clock that a placement of a configuration reaches, MHz, an estimate.

        None where none was fitted: for other families, engines and devices, and with an external
        memory. See :attr:`Family.fmax_error`.
        """
        law = self.family.array_fmax
        if law is None or not self.speed_grade or not self.family.has_law(config):
            return None
        if config.memory.external_words:
            return None
        return law(config, self.family.demand(config).luts, self.speed_grade)
