"""Layer descriptor: the 32 words that tell the sequencer everything about one layer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .accelerator import AcceleratorConfig
from .limits import MAX_PADDING, MAX_POOL_STRIDE

__all__ = [
    "ANY_UNDER_WAY",
    "DESCRIPTOR_WORDS",
    "FIELDS",
    "Descriptor",
    "Field",
    "Operation",
    "absent",
    "narrowed",
]

DESCRIPTOR_WORDS = 32
"""32-bit words of one descriptor."""


class Operation(IntEnum):
    """What a descriptor computes."""

    CONV = 0
    MAX_POOL = 1
    AVG_POOL = 2
    ADD = 3
    MUL = 4
    LOAD = 5
    STORE = 6

    @property
    def joins(self) -> bool:
        """Whether it has two operands, whose words come in turn."""
        return self in (Operation.ADD, Operation.MUL)


@dataclass(frozen=True)
class Field:
    """Place of one field: bits ``[low + width - 1 : low]`` of a word.

    Members
    -------
    signed : two's complement
    offset : subtracted before storing (kernel sizes are stored less one)
    """

    word: int
    low: int
    width: int
    signed: bool = False
    offset: int = 0

    @property
    def minimum(self) -> int:
        """Smallest value the field can carry."""
        return self.offset - (1 << self.width - 1 if self.signed else 0)

    @property
    def maximum(self) -> int:
        """Largest value the field can carry."""
        return self.offset + (1 << self.width - self.signed) - 1


FIELDS: dict[str, Field] = {
    "op": Field(0, 0, 4),
    "step2": Field(0, 8, 1),
    "padded": Field(0, 9, 1),
    "table": Field(0, 10, 1),
    "shared": Field(0, 11, 1),
    "fused": Field(0, 12, 1),
    "space": Field(0, 13, 3),
    "pad_value": Field(0, 16, 8, signed=True),
    "under_way": Field(0, 24, 4),
    "in_base": Field(1, 0, 32),
    "in2_base": Field(2, 0, 32),
    "out_base": Field(3, 0, 32),
    "in_pitch": Field(4, 0, 32),
    "out_pitch": Field(5, 0, 32),
    "out_tiles": Field(6, 0, 32),
    "last_lanes": Field(7, 0, 8),
    "external": Field(7, 8, 24),
    "batch": Field(8, 0, 16),
    "item": Field(8, 16, 16),
    "out_w": Field(9, 0, 16),
    "length": Field(9, 16, 16),
    "origin": Field(10, 0, 32, signed=True),
    "delta_pixel": Field(11, 0, 32, signed=True),
    "delta_row": Field(12, 0, 32, signed=True),
    "x_origin": Field(13, 0, 16, signed=True),
    "y_origin": Field(13, 16, 16, signed=True),
    "in_w": Field(14, 0, 16),
    "in_h": Field(14, 16, 16),
    "stride_w": Field(15, 0, 8),
    "stride_h": Field(15, 8, 8),
    "skipped_columns": Field(15, 16, 16),
    "kernel_w": Field(16, 0, 8, offset=1),
    "kernel_h": Field(16, 8, 8, offset=1),
    "skipped_x": Field(16, 16, 16),
    "in_channels": Field(17, 0, 16),
    "tap_row": Field(18, 0, 32, signed=True),
    "chunk_groups": Field(19, 0, 8),
    "last_chunk_groups": Field(19, 8, 8),
    "chunks": Field(19, 16, 16),
    "last_positions": Field(20, 0, 8),
    "k": Field(20, 8, 8),
    "k_last": Field(20, 16, 8),
    "passes": Field(21, 0, 16),
    "last_columns": Field(21, 16, 8),
    "weight_base": Field(22, 0, 32),
    "weight_count": Field(23, 0, 32),
    "param_base": Field(24, 0, 32),
    "z_y": Field(25, 0, 8, signed=True),
    "lo": Field(25, 8, 8, signed=True),
    "hi": Field(25, 16, 8, signed=True),
    "table_base": Field(26, 0, 32),
    "z_a": Field(27, 0, 8, signed=True),
    "z_b": Field(27, 8, 8, signed=True),
    "lane_sum": Field(27, 16, 8),
    "addend_offset": Field(28, 0, 32, signed=True),
    "m_a": Field(29, 0, 24),
    "sum_shift": Field(29, 24, 4, offset=17),
    "m_b": Field(30, 0, 24),
    "z_sum": Field(31, 0, 8, signed=True),
    "lo_sum": Field(31, 8, 8, signed=True),
    "hi_sum": Field(31, 16, 8, signed=True),
}
"""Every field by name, as laid out in docs/architecture.md section 6."""

FUSED_FIELDS = {
    "fused", "addend_offset", "m_a", "m_b", "sum_shift", "z_sum", "lo_sum", "hi_sum"
}  # fmt: skip
"""Fields of residual additions that are computed with the layer that makes an operand."""
MOVE_FIELDS = {"space", "under_way", "external", "item", "length"}
"""Fields of moves between external memory and the others."""
SKIP_FIELDS = {"skipped_columns", "skipped_x"}
"""Fields of a layer that begins within a row of its output, as strips of a map in external memory
may."""
ANY_UNDER_WAY = 15
"""Most moves that are under way at a time; a move that waits for no other says that many may be."""


def narrowed(config: AcceleratorConfig) -> Mapping[str, Field]:
    """Fields of which a configuration holds fewer bits than the descriptor has, by name."""
    return _narrowed(
        side=config.load.max_side.bit_length(),
        channels=config.memory.activation_words.bit_length(),
        chunks=config.memory.weight_words.bit_length(),
        passes=(-(-config.memory.parameter_words // config.engine.width)).bit_length(),
    )


@lru_cache
def _narrowed(*, side: int, channels: int, chunks: int, passes: int) -> Mapping[str, Field]:
    """The same of the bits of a side, of channels, chunks and passes."""
    widths = {
        "batch": side,
        "out_w": side,
        "x_origin": min(side, MAX_PADDING.bit_length()) + 1,
        "y_origin": min(side, MAX_PADDING.bit_length()) + 1,
        "in_w": side,
        "in_h": side,
        "skipped_columns": side,
        "skipped_x": side + 1,
        "stride_w": MAX_POOL_STRIDE.bit_length(),
        "stride_h": MAX_POOL_STRIDE.bit_length(),
        "kernel_w": side,
        "kernel_h": side,
        "in_channels": channels,
        "chunks": chunks,
        "passes": passes,
    }
    return MappingProxyType(
        {
            name: replace(FIELDS[name], width=width)
            for name, width in widths.items()
            if width < FIELDS[name].width
        }
    )


def absent(config: AcceleratorConfig) -> set[str]:
    """Fields for which a configuration has no register."""
    names = set[str]()
    if not config.output.tables:
        names |= {"table", "table_base"}
    if not (config.vector.pairs or config.fuses_additions):
        names |= {"z_a", "z_b"}
    if not config.fuses_additions:
        names |= FUSED_FIELDS
    if not config.vector.adds_lanes:
        names |= {"lane_sum"}
    if config.engine.window_lanes == config.engine.lanes:
        names.add("shared")
    if not config.memory.external_words:
        names |= MOVE_FIELDS | SKIP_FIELDS
    return names


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """Fields of one layer descriptor, named as in docs/architecture.md section 6.

    Fields that an operation does not use are zero.
    """

    op: int
    step2: int = 0
    padded: int = 0
    table: int = 0
    shared: int = 0
    fused: int = 0
    space: int = 0
    pad_value: int = 0
    under_way: int = 0
    in_base: int = 0
    in2_base: int = 0
    out_base: int = 0
    in_pitch: int = 0
    out_pitch: int = 0
    out_tiles: int = 0
    last_lanes: int = 0
    external: int = 0
    batch: int = 0
    item: int = 0
    out_w: int = 0
    length: int = 0
    origin: int = 0
    delta_pixel: int = 0
    delta_row: int = 0
    x_origin: int = 0
    y_origin: int = 0
    in_w: int = 0
    in_h: int = 0
    stride_w: int = 0
    stride_h: int = 0
    skipped_columns: int = 0
    skipped_x: int = 0
    kernel_w: int = 1
    kernel_h: int = 1
    in_channels: int = 0
    tap_row: int = 0
    chunk_groups: int = 0
    last_chunk_groups: int = 0
    chunks: int = 0
    last_positions: int = 0
    k: int = 0
    k_last: int = 0
    passes: int = 0
    last_columns: int = 0
    weight_base: int = 0
    weight_count: int = 0
    param_base: int = 0
    z_y: int = 0
    lo: int = 0
    hi: int = 0
    table_base: int = 0
    z_a: int = 0
    z_b: int = 0
    lane_sum: int = 0
    addend_offset: int = 0
    m_a: int = 0
    m_b: int = 0
    sum_shift: int = 17
    z_sum: int = 0
    lo_sum: int = 0
    hi_sum: int = 0

    def but(self, **changes: int) -> Self:
        """Copy with some fields changed, ten times as fast as :func:`dataclasses.replace`.

        Raises
        ------
        TypeError
            If there is no such field.
        """
        unknown = changes.keys() - FIELDS.keys()
        if unknown:
            raise TypeError(f"A descriptor has no field {min(unknown)!r}")
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__.update(changes)
        return made

    @property
    def moves(self) -> bool:
        """Whether it moves words between external memory and another, and computes nothing."""
        return self.op in (Operation.LOAD, Operation.STORE)

    @property
    def rows(self) -> int:
        """Rows of a move: `batch`, of which 0 stands for one.

        A row has `length` words. From one to the next its place in the external memory goes on by
        `out_pitch` words, and that in the other memory by `in_pitch` items.
        """
        return max(self.batch, 1)

    @property
    def taps(self) -> int:
        """Weight groups of a group of words: with `shared` those of three taps."""
        return 3 if self.shared else 1

    @property
    def ring(self) -> int:
        """Groups of words that belong together: with `shared` at stride 2 those of every second
        pixel and of the pixels between, of which the first serve one tap and the others two."""
        return 2 if self.shared and self.step2 else 1

    @property
    def groups(self) -> int:
        """Groups of words of a tile, those that belong together as one."""
        return max(self.chunks - 1, 0) * self.chunk_groups + self.last_chunk_groups

    def words(self, layer: str, config: AcceleratorConfig | None = None) -> NDArray[np.uint32]:
        """Packed words, uint32 (32,).

        Parameters
        ----------
        config : if given, values must also fit the registers of this configuration

        Raises
        ------
        UserError
            If a value does not fit its field; names `layer`, the field and its range.
        """
        packed = [0] * DESCRIPTOR_WORDS
        narrow = narrowed(config) if config else {}
        for value, (name, minimum, maximum, place) in zip(_VALUES(self), _PLACES, strict=True):
            if name in narrow:
                minimum, maximum = narrow[name].minimum, narrow[name].maximum
            if not minimum <= value <= maximum:
                raise UserError(
                    f"Layer {layer!r} needs {name} = {value}, but a layer descriptor holds "
                    f"{minimum} to {maximum}"
                    f"{' with this configuration' * (name in narrow)}; make the layer smaller."
                )
            word, low, offset, mask = place
            packed[word] |= (value - offset & mask) << low
        return np.array(packed, np.uint32)

    @classmethod
    def from_words(cls, words: NDArray[np.uint32]) -> Self:
        """Descriptor of packed words, uint32 (32,)."""
        values = {}
        for name, field in FIELDS.items():
            value = int(words[field.word]) >> field.low & (1 << field.width) - 1
            if field.signed and value >> field.width - 1:
                value -= 1 << field.width
            values[name] = value + field.offset
        return cls(**values)


# Descriptors are packed by the thousand when many configurations are tried.
_VALUES = attrgetter(*FIELDS)
_PLACES = [
    (name, each.minimum, each.maximum, (each.word, each.low, each.offset, (1 << each.width) - 1))
    for name, each in FIELDS.items()
]
