"""Configuration of the tile: the emulated crossbar and the accelerator around it."""

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

from ..engines.crossbar import CrossbarConfig
from ..errors import UserError
from .accelerator import ArrayConfig

__all__ = ["TileConfig", "load_config"]

MAX_ITEM_WORDS = 64
"""32-bit words of the longest weight item."""


@dataclass(frozen=True, kw_only=True)
class TileConfig(ArrayConfig):
    """Accelerator whose engine emulates a crossbar, as laid out in docs/crossbar.md, section 5.

    Fields of the array mean the same here, but that `columns`, the operation units in flight, and
    `requantizer_cycles` are 1; `window_groups` groups of `group` activations must hold the
    receptive field of a tile of pixels, and `partial_sum_channels` are the output channels of a
    layer.

    Raises
    ------
    UserError
        If a field is out of range; the sentence names the field, the value and what is allowed.
    """

    _engine: ClassVar[str] = "crossbar tile"
    _example: ClassVar[str] = "lanes = 16"

    columns: int = 1
    """Operation units in flight, each on all lanes: 1."""
    group: int = 32
    """Activations that the loader hands over together: 4, 8, 16 or 32."""
    window_groups: int = 256
    """Groups of activations that the window memory holds: a power of two, 2 to 256."""
    ou_parallel: int = 1
    """Operation units of the same rows that work together: 1, 2 or 4."""
    crossbar: CrossbarConfig = field(default_factory=CrossbarConfig)
    """The crossbar that is emulated."""

    def __post_init__(self) -> None:
        if not isinstance(self.crossbar, CrossbarConfig):
            raise UserError(
                f"Configuration field 'crossbar' must be a CrossbarConfig, not {self.crossbar!r}; "
                "write its fields under a line '[crossbar]'."
            )
        super().__post_init__()
        self._one_of("columns", (1,))
        self._one_of("requantizer_cycles", (1,))
        self._integers("ou_parallel")
        self._one_of("ou_parallel", (1, 2, 4))
        if self.weight_item_words > MAX_ITEM_WORDS:
            raise UserError(
                f"A weight item of {self.ou_parallel} operation units of {self.crossbar.ou_rows} "
                f"rows and {self.crossbar.ou_columns} columns takes {self.weight_bits} bits where "
                f"{32 * MAX_ITEM_WORDS} fit; lower 'ou_parallel', 'ou_rows' or 'ou_columns'."
            )

    @property
    def outline(self) -> str:
        """Shape in a few words, for messages and titles."""
        unit = self.crossbar
        units = f"operation unit{'s' * (self.ou_parallel > 1)}"
        return (
            f"crossbar tile of {self.lanes} lanes with {self.ou_parallel} {units} of "
            f"{unit.ou_rows} x {unit.ou_columns}"
        )

    @property
    def window_positions(self) -> int:
        """Activations a lane that the window memory holds."""
        return self.group * self.window_groups

    @property
    def address_bits(self) -> int:
        """Bits of a flattened position in a weight item."""
        return (self.window_positions - 1).bit_length()

    @property
    def channel_bits(self) -> int:
        """Bits of an output channel in a weight item."""
        return max((self.partial_sum_channels - 1).bit_length(), 1)

    @property
    def item_weights(self) -> int:
        """Output channels of a weight item: those of the operation units that work together."""
        return self.ou_parallel * self.crossbar.ou_weights

    @property
    def item_columns(self) -> int:
        """Bitlines of a weight item."""
        return self.ou_parallel * self.crossbar.ou_columns

    @property
    def count_bits(self) -> int:
        """Bits of a weight item's count of rows or output channels."""
        return max(self.crossbar.ou_rows, self.item_weights).bit_length()

    @property
    def weight_bits(self) -> int:
        """Bits of a weight item: kind, last, count, then addresses or channels and cells."""
        unit = self.crossbar
        cells = unit.ou_rows * self.item_columns * unit.cell_bits
        return (
            2
            + self.count_bits
            + max(unit.ou_rows * self.address_bits, self.item_weights * self.channel_bits + cells)
        )

    def canonical(self) -> str:
        """Canonical JSON text of the fields, but for the crossbar's `constants`: the input of the
        hash."""
        values = asdict(self) | {"crossbar": json.loads(self.crossbar.canonical())}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Configuration of nested plain dictionaries; missing fields take their defaults.

        Raises
        ------
        UserError
            If a key is no field, or a value is out of range.
        """
        crossbar = values.get("crossbar", {})
        if isinstance(crossbar, dict):
            crossbar = CrossbarConfig.from_dict(crossbar)
        return super().from_dict({**values, "crossbar": crossbar})

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Configuration of a TOML file with the tables ``[array]`` and ``[crossbar]``.

        Raises
        ------
        UserError
            If the file is missing, is not TOML, or holds a bad field.
        """
        array, crossbar = cls._tables(path, cls._table, CrossbarConfig._table)
        return cls.from_dict({**array, "crossbar": crossbar})

    def _lines(self, values: dict[str, Any]) -> list[str]:
        """Both tables as TOML."""
        crossbar = values.pop("crossbar")
        return [*super()._lines(values), "", *self.crossbar._lines(crossbar)]


def load_config(path: str | os.PathLike[str]) -> ArrayConfig:
    """Configuration of an accelerator of any engine: the tables of the file say which.

    Parameters
    ----------
    path : TOML file with the table ``[array]`` for the sparse array, and ``[crossbar]`` beside it
        for the crossbar tile

    Raises
    ------
    UserError
        If the file is missing, is not TOML, or holds a bad field.
    """
    tile = CrossbarConfig._table in ArrayConfig._document(path)
    return (TileConfig if tile else ArrayConfig).from_toml(path)
