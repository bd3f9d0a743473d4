"""Parts of a configuration that all engines share: loading, memories, vector unit, output, link."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import UserError
from .configuration import Configuration

__all__ = [
    "EXTERNAL", "MEMORIES", "SERIAL_SHIFTS", "LinkConfig", "LoadConfig", "MemoryConfig",
    "OutputConfig", "VectorConfig",
]  # fmt: skip

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
EXTERNAL = tuple(1 << n for n in range(16, 25))
"""Words of an external memory."""
MOST_ITEMS = 1 << 16
"""Items of a memory that words can be moved into."""


@dataclass(frozen=True, kw_only=True)
class LoadConfig(Configuration):
    """Walk over the input: how large maps may be, and what is prepared ahead.

    Raises
    ------
    UserError
        If a field is out of range; the sentence names the field, the value and what is allowed.
    """

    part: ClassVar[str] = "load"

    max_side: int = 65535
    """Largest height, width and kernel side of a map, and largest batch: 2**n - 1, 15 to 65535."""
    padded_kernel: int = 7
    """Largest side of a kernel with padding: 3, 5 or 7."""
    ahead: bool = True
    """Whether a tile of pixels is described while the one before is loaded, and the descriptor of a
    layer fetched while the layer before runs; takes memory for two descriptions of each."""
    wide_reads: bool = True
    """Whether the activation memory has twice as many banks as lanes, each half as deep: lanes of
    stride 2 then come from one read, not two."""

    def __post_init__(self) -> None:
        self._integers("max_side", "padded_kernel")
        self._one_of("max_side", tuple((1 << n) - 1 for n in range(4, 17)))
        self._one_of("padded_kernel", (3, 5, 7))
        self._booleans("ahead", "wide_reads")


@dataclass(frozen=True, kw_only=True)
class MemoryConfig(Configuration):
    """On-chip memories of the accelerator.

    Raises
    ------
    UserError
        If a field is out of range; the sentence names the field, the value and what is allowed.
    """

    part: ClassVar[str] = "memory"

    activation_words: int = 4096
    """Activation memory, words of `lanes` bytes: a multiple of 16, up to 2**24."""
    weight_words: int = 4096
    """Weight memory, items: a multiple of 16, up to 2**24."""
    parameter_words: int = 1024
    """Parameter memory, output channels of the whole network: a multiple of 16, up to 2**20."""
    max_layers: int = 64
    """Layer descriptors that fit: 1 to 1024."""
    read_registers: bool = True
    """Whether what leaves a memory passes a register, for a fast clock; counters too."""
    weight_queue: bool = True
    """Whether weights are read ahead into a queue; without it the weight memory has one port, which
    the host shares."""
    external_words: int = 0
    """32-bit words of an external memory, with which weights, parameters, activations and
    descriptors are exchanged while layers run: a power of two from 2**16 to 2**24, or 0 for
    none."""
    external_slots: int = 1
    """Clocks of the external memory in a cycle of the accelerator: 1, with which a word comes every
    second cycle, or 2, with which one comes in each."""

    def __post_init__(self) -> None:
        self._integers(*MEMORIES)
        for name in ("activation_words", "weight_words", "parameter_words"):
            self._between(name, 16, MEMORIES[name])
            self._multiple_of_16(name)
        self._between("max_layers", 1, MEMORIES["max_layers"])
        self._booleans("read_registers", "weight_queue")
        self._integers("external_words")
        self._one_of("external_words", (0, *EXTERNAL))
        self._integers("external_slots")
        self._one_of("external_slots", (1, 2))
        if self.external_words:
            self._beside_external()

    @property
    def external_address_bits(self) -> int:
        """Bits of a word's address in the external memory."""
        return max(self.external_words - 1, 0).bit_length()

    def _beside_external(self) -> None:
        """Refuse memories that nothing can be moved into while layers run."""
        for name in ("read_registers", "weight_queue"):
            if not getattr(self, name):
                raise UserError(
                    f"External memory needs {name!r}, for words go into the memories while layers "
                    f"run; set {name!r} to true or 'external_words' to 0."
                )
        for name in ("weight_words", "parameter_words"):
            if getattr(self, name) > MOST_ITEMS:
                raise UserError(
                    f"Beside external memory {name!r} is at most {MOST_ITEMS}, not "
                    f"{getattr(self, name)}; lower it, or set 'external_words' to 0."
                )

    def values(self, *, hashed: bool = False) -> dict[str, Any]:
        plain = super().values(hashed=hashed)
        # What has no external memory is what it was before there was any.
        if not self.external_words:
            del plain["external_words"]
        if not self.external_words or self.external_slots == 1:
            del plain["external_slots"]
        return plain


@dataclass(frozen=True, kw_only=True)
class VectorConfig(Configuration):
    """Unit for layers without weights: pooling, residual additions and products.

    Raises
    ------
    UserError
        If a field is out of range; the sentence names the field, the value and what is allowed.
    """

    part: ClassVar[str] = "vector"
    short: ClassVar[tuple[str, ...]] = ("bits",)

    bits: int = 24
    """Width of the unit's sums, bits: 8 (no average pooling) to 24, or 0 for no unit: then there
    is no pooling, addition or product."""
    additions: bool = True
    """Whether there are residual additions."""
    products: bool = True
    """Whether there are products of two activations; additions and products together take a
    multiplier for each requantizer."""
    lane_sums: bool = True
    """Whether an average over a whole map adds up the lanes of a word, in place of a lane a cycle;
    of one image at a time, and with more than 8 bits."""
    tag_registers: bool = True
    """Whether the place of a word travels with it through registers; additions and products need
    that."""

    def __post_init__(self) -> None:
        self._integers("bits")
        self._booleans("additions", "products", "lane_sums", "tag_registers")
        if self.bits or self.additions or self.products:
            self._between("bits", 8, 24)

    @property
    def pairs(self) -> bool:
        """Whether there are layers of two operands."""
        return self.additions or self.products

    @property
    def adds_lanes(self) -> bool:
        """Whether there is a sum of a word's lanes."""
        return self.lane_sums and self.bits > 8


@dataclass(frozen=True, kw_only=True)
class OutputConfig(Configuration):
    """Requantization of sums to activations.

    Raises
    ------
    UserError
        If a field is out of range; the sentence names the field, the value and what is allowed.
    """

    part: ClassVar[str] = "output"

    requantizers: int = 8
    """Lanes drained and requantized a cycle: a power of two that divides `lanes`."""
    requantizer_cycles: int = 1
    """Cycles of a requantizer for one sum: 1, or 16 or 32 without multipliers. More than 1 takes
    no scales below 2**-19, residual additions, products or slopes."""
    tables: bool = True
    """Whether results can pass a table of 256 codes, which takes a block RAM a requantizer."""
    slopes: bool = True
    """Whether negative sums can have a multiplier of their own; parameter items then take three
    words in place of two."""
    fused_additions: bool = True
    """Whether a residual addition can be computed where its later operand leaves the array, without
    a pass of its own; takes two multipliers for each requantizer. Without effect where a word
    leaves in one beat, with `requantizer_cycles` above 1, and beside a crossbar tile."""

    def __post_init__(self) -> None:
        self._integers("requantizers", "requantizer_cycles")
        self._booleans("tables", "slopes", "fused_additions")
        self._one_of("requantizer_cycles", (1, 16, 32))


@dataclass(frozen=True, kw_only=True)
class LinkConfig(Configuration):
    """A board's serial link, no part of the hash: nothing that is computed depends on it.

    Raises
    ------
    UserError
        If a field is out of range; the sentence names the field, the value and what is allowed.
    """

    part: ClassVar[str] = "link"
    short: ClassVar[tuple[str, ...]] = ("words", "registered")

    words: int = 512
    """Words of each of the two memories of the link: a power of two, 32 to 4096."""
    registered: bool = True
    """Whether its memories' accesses pass registers, for a fast clock."""

    def __post_init__(self) -> None:
        self._integers("words")
        self._one_of("words", tuple(32 << n for n in range(8)))
        self._booleans("registered")
