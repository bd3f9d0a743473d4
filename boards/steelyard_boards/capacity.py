"""What a configuration needs of a device, known before anything is built."""

from collections.abc import Iterator
from dataclasses import dataclass

from steelyard.config import ArrayConfig
from steelyard.errors import DoesNotFit
from steelyard.program import Program
from steelyard_hw.descriptor import DESCRIPTOR_WORDS
from steelyard_hw.sequencer import COUNTERS

__all__ = ["ECP5_12F", "ECP5_25F", "ECP5_45F", "ECP5_85F", "Demand", "Device", "check", "demand"]

BLOCK_RAM_SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Words and bits of a DP16KD as yosys uses it."""
LINK_WORDS = 512
"""Words of each of the link's two memories, as SerialAccelerator makes them."""
REQUANTIZER_MULTIPLIERS = 3
ROUTABLE = 0.9
"""Share of a device's LUTs beyond which nextpnr does not find all wires."""


@dataclass(frozen=True)
class Device:
    """FPGA with what it has.

    Attributes
    ----------
    luts : LUT4 and carry positions (TRELLIS_COMB)
    block_rams : DP16KD
    multipliers : MULT18X18D
    """

    name: str
    luts: int
    block_rams: int
    multipliers: int

    @property
    def block_ram_bytes(self) -> int:
        """Bytes of all block RAMs, without their parity bits."""
        return self.block_rams * 2048


# What nextpnr-ecp5 offers. The 12F is a 25F's die that the vendor's tools use half of.
ECP5_12F = Device("LFE5U-12F", 24_288, 56, 28)
ECP5_25F = Device("LFE5U-25F", 24_288, 56, 28)
ECP5_45F = Device("LFE5U-45F", 43_848, 108, 72)
ECP5_85F = Device("LFE5U-85F", 83_640, 208, 156)


@dataclass(frozen=True)
class Demand:
    """What a configuration needs, with link and PLL; multipliers and block RAMs are exact."""

    luts: int
    block_rams: int
    multipliers: int


def demand(config: ArrayConfig) -> Demand:
    """Needs of a configuration on an ECP5; LUTs as nextpnr counts them, within about 10 %."""
    return Demand(
        luts=_luts(config),
        block_rams=sum(_block_rams(depth, bits) for depth, bits in _memories(config)),
        multipliers=config.macs_per_cycle + REQUANTIZER_MULTIPLIERS * config.requantizers,
    )


def _luts(config: ArrayConfig) -> int:
    """Linear fit (docs/notes/bitstreams.md); nextpnr adds cells where carry chains end."""
    synthesized = 4200 + 47 * config.macs_per_cycle + 620 * config.requantizers + 190 * config.lanes
    return round(1.09 * synthesized)


def _block_rams(depth: int, bits: int) -> int:
    """Block RAMs of a memory, in the shape that takes fewest."""
    return min(-(-depth // words) * -(-bits // width) for words, width in BLOCK_RAM_SHAPES)


def _memories(config: ArrayConfig) -> Iterator[tuple[int, int]]:
    """Words and bits of every memory that becomes block RAM."""
    weight_bits = config.columns * config.weight_bits
    words = [32] * (weight_bits // 32) + [weight_bits % 32] * (weight_bits % 32 > 0)
    for _ in range(config.columns):
        yield config.window_groups * config.group, 8 * config.lanes
    yield config.partial_sum_channels * config.drain_beats, 32 * config.requantizers
    for _ in range(config.lanes):
        yield config.activation_words, 8
    for width in words:
        yield config.weight_words, width
    for _ in range(2):
        yield config.parameter_words, 32
        yield LINK_WORDS, 32
    yield config.max_layers * DESCRIPTOR_WORDS, 32
    yield config.max_layers * len(COUNTERS), 32


def check(board: str, device: Device, config: ArrayConfig, program: Program | None = None) -> None:
    """Refuse a configuration that a board's device cannot hold, or a program of another one.

    Raises
    ------
    DoesNotFit
        The sentence gives the amounts.
    """
    needs = demand(config)
    room = int(device.luts * ROUTABLE)
    if needs.multipliers > device.multipliers:
        raise DoesNotFit(
            f"Board {board!r} has {device.multipliers} multipliers and the configuration needs "
            f"{needs.multipliers}: {config.lanes} lanes x {config.columns} columns and "
            f"{REQUANTIZER_MULTIPLIERS} for each of {config.requantizers} requantizers; use fewer "
            "columns or requantizers."
        )
    if needs.block_rams > device.block_rams:
        raise DoesNotFit(
            f"Board {board!r} has {device.block_rams} block RAMs and the configuration needs "
            f"{needs.block_rams}; use fewer than {config.activation_words} activation_words, "
            f"{config.weight_words} weight_words or {config.columns} columns."
        )
    if needs.luts > room:
        raise DoesNotFit(
            f"Board {board!r} has {device.luts} LUTs, of which {room} can be routed, and the "
            f"configuration needs about {needs.luts}; use fewer lanes, columns or requantizers."
        )
    if program is not None:
        differences = config.differences(program.config)
        if differences:
            raise DoesNotFit(
                f"The program was compiled for another configuration than board {board!r} gets "
                f"({'; '.join(differences)}); compile it with that configuration."
            )
