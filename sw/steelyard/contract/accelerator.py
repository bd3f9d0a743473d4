"""Configuration of the sparse array: one frozen dataclass that every room reads."""

from dataclasses import dataclass, fields
from typing import ClassVar

from ..errors import UserError
from .configuration import Configuration

__all__ = ["MEMORIES", "SERIAL_SHIFTS", "ArrayConfig"]

SERIAL_SHIFTS = (15, 42)
"""Least and greatest shift of a 24-bit multiplier that a requantizer of several cycles takes."""
MEMORIES = {
    "activation_words": 1 << 24,
    "weight_words": 1 << 24,
    "parameter_words": 1 << 20,
    "max_layers": 1024,
}
"""Fields that say how large a network may be, with their greatest values; no schedule depends on
them."""


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class ArrayConfig(Configuration):
    """Shape and memories of one accelerator.

    Raises
    ------
    UserError
        If a field is out of range; the sentence names the field, the value and what is allowed.
    """

    _engine: ClassVar[str] = "sparse array"
    _table: ClassVar[str] = "array"
    _example: ClassVar[str] = "lanes = 16"

    lanes: int = 16
    """Output pixels that share a decoded weight (multipliers a column): 4, 8, 16 or 32."""
    columns: int = 16
    """Output channels in flight (columns of the array): 1 to 64."""
    group: int = 16
    """Weights in a group along the flattened (ky, kx, ic) axis: 4, 8, 16 or 32."""
    requantizers: int = 8
    """Lanes drained and requantized a cycle: a power of two that divides `lanes`."""
    requantizer_cycles: int = 1
    """Cycles of a requantizer for one sum: 1, or 16 or 32 without multipliers. More than 1 takes
    no scales below 2**-19 and no residual additions."""
    multiplier_stages: int = 2
    """Registers from a multiplier's operands to its product, cycles: 2 to 6. The ECP5 boards'
    multipliers that serve two lanes each take 4."""
    accumulator_bits: int = 24
    """Width of the signed accumulator of one multiplier, bits: 16 to 32."""
    window_groups: int = 32
    """Weight groups of activations that a window memory holds: a power of two, 2 to 256."""
    activation_words: int = 4096
    """Activation memory, words of `lanes` bytes: a multiple of 16, up to 2**24."""
    weight_words: int = 4096
    """Weight memory, words of `columns` (value, index) pairs: a multiple of 16, up to 2**24."""
    parameter_words: int = 1024
    """Parameter memory, output channels of the whole network: a multiple of 16, up to 2**20."""
    partial_sum_channels: int = 512
    """Output channels whose partial sums fit the shared memory: `columns` to 4096."""
    max_layers: int = 64
    """Layer descriptors that fit: 1 to 1024."""
    max_side: int = 65535
    """Largest height, width and kernel side of a map, and largest batch: 2**n - 1, 15 to 65535."""
    padded_kernel: int = 7
    """Largest side of a kernel with padding: 3, 5 or 7."""
    vector_bits: int = 24
    """Width of the vector unit's sums, bits: 8 (no average pooling) to 24, or 0 for no unit: then
    there is no pooling either, and `requantizer_cycles` is more than 1."""
    link_words: int = 512
    """Words of each of the two memories of a board's serial link: a power of two, 32 to 4096."""

    def __post_init__(self) -> None:
        self._integers(*(field.name for field in fields(ArrayConfig)))
        self._one_of("lanes", (4, 8, 16, 32))
        self._between("columns", 1, 64)
        self._one_of("group", (4, 8, 16, 32))
        self._one_of("requantizers", tuple(1 << n for n in range(self.lanes.bit_length())))
        self._one_of("requantizer_cycles", (1, 16, 32))
        self._between("multiplier_stages", 2, 6)
        self._between("accumulator_bits", 16, 32)
        self._one_of("window_groups", tuple(1 << n for n in range(1, 9)))
        for name in ("activation_words", "weight_words", "parameter_words"):
            self._between(name, 16, MEMORIES[name])
            if getattr(self, name) % 16:
                raise UserError(
                    f"Configuration field {name!r} must be a multiple of 16, "
                    f"not {getattr(self, name)}; round it up."
                )
        self._between("partial_sum_channels", self.columns, 4096)
        self._between("max_layers", 1, MEMORIES["max_layers"])
        self._one_of("max_side", tuple((1 << n) - 1 for n in range(4, 17)))
        self._one_of("padded_kernel", (3, 5, 7))
        if self.vector_bits or not self.compact:
            self._between("vector_bits", 8, 24)
        self._one_of("link_words", tuple(32 << n for n in range(8)))

    @property
    def outline(self) -> str:
        """Shape in a few words, for messages and titles."""
        return f"{self.lanes} lanes x {self.columns} columns"

    @property
    def macs_per_cycle(self) -> int:
        """Multiplications of the array in one cycle: ``lanes * columns``."""
        return self.lanes * self.columns

    @property
    def index_bits(self) -> int:
        """Bits of a weight's index within its group."""
        return (self.group - 1).bit_length()

    @property
    def weight_bits(self) -> int:
        """Bits of one packed weight: int8 value and index."""
        return 8 + self.index_bits

    @property
    def weight_item_words(self) -> int:
        """32-bit words of one weight item (all columns of one cycle)."""
        return -(-self.columns * self.weight_bits // 32)

    @property
    def activation_item_words(self) -> int:
        """32-bit words of one activation item (all lanes)."""
        return self.lanes // 4

    @property
    def drain_beats(self) -> int:
        """Beats to drain one column: ``lanes / requantizers``."""
        return self.lanes // self.requantizers

    @property
    def compact(self) -> bool:
        """Whether logic counts more than clock: few registers that only carry, no buffers."""
        return self.requantizer_cycles > 1

    @property
    def drain_cycles(self) -> int:
        """Cycles to drain one column: its beats, each as long as a requantizer needs."""
        return self.drain_beats * self.requantizer_cycles

    @property
    def broadcast_stages(self) -> int:
        """Registers that spread control and window words over the columns, cycles."""
        return 1 if self.columns > 8 else 0
