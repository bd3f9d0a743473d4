"""Configuration of the sparse array."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...contract.engine import EngineConfig
from ...errors import UserError

if TYPE_CHECKING:
    from ...contract import AcceleratorConfig

__all__ = ["CONFIG", "ArrayConfig"]


@dataclass(frozen=True, kw_only=True)
class ArrayConfig(EngineConfig):
    """Shape of the load-balanced sparse array.

    Columns hold output channels, lanes hold output pixels; a group is that many weights along the
    flattened (ky, kx, ic) axis, of which a layer keeps K.

    Raises
    ------
    UserError
        If a field is out of range; the sentence names the field, the value and what is allowed.
    """

    kind: ClassVar[str] = "array"
    title: ClassVar[str] = "sparse array"
    gateware: ClassVar[str] = "steelyard_hw.array.array:SparseArray"
    steady_drain: ClassVar[bool] = True

    columns: int = 16
    """Output channels in flight (columns of the array): 1 to 64."""
    multiplier_stages: int = 2
    """Registers from a multiplier's operands to its product, cycles: 2 to 6. The ECP5 boards'
    multipliers that serve two lanes each take 3."""
    carry_registers: bool = True
    """Whether what spreads over the columns passes registers that only carry, for a fast clock;
    without them the columns take a cycle for each capture of their sums alone."""
    shared_taps: bool = True
    """Whether a word of the window memory holds the pixels left and right of its tile too, and each
    lane of each column selects among them: three taps of a row then take one word. It needs
    `wide_reads`."""

    def __post_init__(self) -> None:
        self._integers("columns", "multiplier_stages")
        self._between("columns", 1, 64)
        super().__post_init__()
        self._between("multiplier_stages", 2, 6)
        self._booleans("carry_registers", "shared_taps")

    def check(self, config: "AcceleratorConfig") -> None:
        """Refuse a memory that does not give the pixels left and right of a tile.

        Raises
        ------
        UserError
            If it is so; names the field.
        """
        if self.shared_taps and not config.load.wide_reads:
            raise UserError(
                "Words that three taps share need wide reads of the activation memory; set "
                "'wide_reads' to true or 'shared_taps' to false."
            )

    @property
    def width(self) -> int:
        """Output channels in flight."""
        return self.columns

    @property
    def window_lanes(self) -> int:
        """Pixels of a window word: with `shared_taps` one more on each side."""
        return self.lanes + 2 * self.shared_taps

    @property
    def outline(self) -> str:
        """Shape in a few words, for messages and titles."""
        return f"{self.lanes} lanes x {self.columns} columns"

    @property
    def macs_per_cycle(self) -> int:
        """Multiplications of the array in one cycle: ``lanes * columns``."""
        return self.lanes * self.columns

    @property
    def paired_stages(self) -> int:
        """Registers from operands to product, with which two lanes may share a multiplier."""
        return self.multiplier_stages

    @property
    def infers_multipliers(self) -> bool:
        """Not beside instances of multipliers that take the columns' registers into them."""
        return self.carry_registers

    @property
    def index_bits(self) -> int:
        """Bits of a weight's index within its group."""
        return (self.group - 1).bit_length()

    @property
    def weight_bits(self) -> int:
        """Bits of one packed weight: int8 value and index."""
        return 8 + self.index_bits

    @property
    def broadcast_stages(self) -> int:
        """Registers that spread control and window words over the columns, cycles."""
        return 1 if self.columns > 8 else 0


CONFIG = ArrayConfig
