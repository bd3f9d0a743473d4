"""Configuration of the crossbar tile: the emulated crossbar and what works on it."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from ...contract.accelerator import AcceleratorConfig
from ...contract.engine import EngineConfig
from ...errors import UserError
from .crossbar import CrossbarConfig

__all__ = ["CONFIG", "CrossbarTileConfig"]

MAX_ITEM_WORDS = 64
"""32-bit words of the longest weight item."""


@dataclass(frozen=True, kw_only=True)
class CrossbarTileConfig(EngineConfig):
    """Engine that emulates a crossbar, as laid out in docs/crossbar.md, section 5.

    `window_groups` groups of `group` activations must hold the receptive field of a tile of pixels,
    and `partial_sum_channels` are the output channels of a layer.

    Raises
    ------
    UserError
        If a field is out of range; the sentence names the field, the value and what is allowed.
    """

    kind: ClassVar[str] = "crossbar"
    title: ClassVar[str] = "crossbar tile"
    gateware: ClassVar[str] = "steelyard_hw.crossbar.tile:CrossbarTile"
    counts: ClassVar[bool] = True

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
                "write its fields under a line '[engine.crossbar]'."
            )
        super().__post_init__()
        self._integers("ou_parallel")
        self._one_of("ou_parallel", (1, 2, 4))
        if self.weight_item_words > MAX_ITEM_WORDS:
            raise UserError(
                f"A weight item of {self.ou_parallel} operation units of {self.crossbar.ou_rows} "
                f"rows and {self.crossbar.ou_columns} columns takes {self.weight_bits} bits where "
                f"{32 * MAX_ITEM_WORDS} fit; lower 'ou_parallel', 'ou_rows' or 'ou_columns'."
            )

    def check(self, config: AcceleratorConfig) -> None:
        """Refuse what the tile's timing does not go with: cost in logic, or cycles.

        Raises
        ------
        UserError
            If it is there; names the field.
        """
        config.output._one_of("requantizer_cycles", (1,))
        for part, name in (
            (config.load, "ahead"), (config.memory, "read_registers"),
            (config.memory, "weight_queue"),
        ):  # fmt: skip
            if not getattr(part, name):
                raise UserError(
                    f"The crossbar tile needs {name!r}, which is false; leave it at its default."
                )
        if config.memory.external_words:
            raise UserError(
                "The crossbar tile takes no weights from external memory, and external_words is "
                f"{config.memory.external_words}; set it to 0, or use the array."
            )

    def warnings(self) -> list[str]:
        """Sentences about what is allowed but loses accuracy."""
        return self.crossbar.warnings()

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
        """Bits of a weight item: kind, last, count, then addresses or channels and cells, and what
        dynamic formation needs: `part_bits` before them and `reach_bits` of each bitline."""
        unit = self.crossbar
        cells = unit.ou_rows * self.item_columns * unit.cell_bits
        held = self.part_bits + self.item_weights * self.channel_bits + cells
        held += self.item_columns * self.reach_bits
        return 2 + self.count_bits + max(unit.ou_rows * self.address_bits, held)

    @property
    def part_bits(self) -> int:
        """Bits of a weight item that say which part of a block's rows it holds."""
        return 2 if self.crossbar.dynamic else 0

    @property
    def reach_bits(self) -> int:
        """Bits of a weight item for what each bitline reaches, where its own cells do not say it:
        with dynamic formation."""
        unit = self.crossbar
        return unit.adc_bits.bit_length() if unit.dynamic and unit.adc_resolve == "reach" else 0

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


CONFIG = CrossbarTileConfig
