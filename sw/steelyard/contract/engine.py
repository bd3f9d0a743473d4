"""What the configuration of every engine has: the shell, the loader and the output rely on it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from .configuration import Configuration

if TYPE_CHECKING:
    from .accelerator import AcceleratorConfig

__all__ = ["EngineConfig"]


@dataclass(frozen=True, kw_only=True)
class EngineConfig(Configuration, ABC):
    """Part of a configuration that belongs to what computes layers with weights.

    Subclasses set `kind` and `title`, may narrow the fields, and add their own.

    Raises
    ------
    UserError
        If a field is out of range; the sentence names the field, the value and what is allowed.
    """

    part: ClassVar[str] = "engine"
    kind: ClassVar[str]
    """How a configuration names the engine."""
    title: ClassVar[str]
    """What computes, in words."""
    gateware: ClassVar[str]
    """``module:Class`` of its component, a :class:`steelyard_hw.engine.Engine`."""
    steady_drain: ClassVar[bool] = False
    """Whether sums can leave it so that each beat of a word has its own place in a fixed rhythm."""
    counts: ClassVar[bool] = False
    """Whether it has counters of its own, in space UNITS of the host port."""

    lanes: int = 16
    """Output pixels that are computed together, and bytes of an activation word: 4, 8, 16 or 32."""
    group: int = 16
    """Activations that the loader hands over together: 4, 8, 16 or 32."""
    window_groups: int = 32
    """Groups of activations that a window memory holds: a power of two, 2 to 256."""
    accumulator_bits: int = 24
    """Width of the signed sums that leave the engine, bits: 16 to 32."""
    partial_sum_channels: int = 512
    """Output channels whose partial sums fit the engine's memory: `columns` to 4096."""

    def __post_init__(self) -> None:
        self._integers(*(each.name for each in fields(EngineConfig)))
        self._one_of("lanes", (4, 8, 16, 32))
        self._one_of("group", (4, 8, 16, 32))
        self._between("accumulator_bits", 16, 32)
        self._one_of("window_groups", tuple(1 << n for n in range(1, 9)))
        self._between("partial_sum_channels", self.width, 4096)

    def check(self, config: "AcceleratorConfig") -> None:
        """Refuse other parts of a configuration that the engine does not work with.

        Raises
        ------
        UserError
            If one does not fit; names the field.
        """

    def warnings(self) -> list[str]:
        """Sentences about what is allowed but loses accuracy."""
        return []

    @property
    def width(self) -> int:
        """Output channels, or operation units, in flight."""
        return 1

    @property
    def window_lanes(self) -> int:
        """Pixels of a word that the loader hands over: `lanes`, or two more with neighbours."""
        return self.lanes

    @property
    def macs_per_cycle(self) -> int | None:
        """Multiplications of 8-bit numbers in a cycle; None where work has no such measure."""
        return None

    @property
    def paired_stages(self) -> int:
        """Registers of a multiplication that two lanes may share a multiplier for; 0 for never."""
        return 0

    @property
    def infers_multipliers(self) -> bool:
        """Whether synthesis may make multipliers of plain arithmetic."""
        return True

    @property
    @abstractmethod
    def weight_bits(self) -> int:
        """Bits of one weight, with all that goes with it, in an item of the weight memory."""

    @property
    def weight_item_bits(self) -> int:
        """Bits of one item of the weight memory."""
        return self.width * self.weight_bits

    @property
    def weight_item_words(self) -> int:
        """32-bit words of one item of the weight memory."""
        return -(-self.weight_item_bits // 32)

    @property
    @abstractmethod
    def outline(self) -> str:
        """Shape in a few words, for messages and titles."""
