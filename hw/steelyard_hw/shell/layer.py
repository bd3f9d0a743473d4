"""Layer descriptor as the gateware holds it (docs/architecture.md, section 6)."""

from amaranth.hdl import Const, Value, signed, unsigned
from amaranth.lib import data
from amaranth.utils import bits_for

from steelyard.contract import AcceleratorConfig
from steelyard.contract.descriptor import DESCRIPTOR_WORDS, FIELDS, Operation, absent, narrowed

__all__ = [
    "DESCRIPTOR_WORDS",
    "FIELDS",
    "LayerLayout",
    "Operation",
    "joins",
    "moves",
    "paired",
    "pixel_bits",
]


def pixel_bits(config: AcceleratorConfig) -> int:
    """Bits of a signed linear pixel: the activation memory with room for padding on both sides."""
    return bits_for(config.memory.activation_words - 1) + bits_for(config.engine.lanes - 1) + 2


def joins(layer, config: AcceleratorConfig) -> Value:
    """Whether a layer has two operands, which a configuration may leave out."""
    has = {Operation.ADD: config.vector.additions, Operation.MUL: config.vector.products}
    operations = [operation for operation, there in has.items() if there]
    return layer.op.matches(*operations) if operations else Const(0, 1)


def paired(layer) -> Value:
    """Whether groups of window words come in pairs: the descriptor's `ring` is 2.

    Only of configurations whose taps can share words.
    """
    return layer.shared & layer.step2


def _pitch_of_moves(config: AcceleratorConfig, row: int) -> dict[str, int]:
    """Bits of the pitch that moves have in the external memory, of those that have one."""
    if not config.memory.external_words:
        return {}
    return {"out_pitch": max(row, config.memory.external_address_bits)}


def moves(layer) -> Value:
    """Whether a descriptor moves words and computes nothing."""
    return layer.op.matches(Operation.LOAD, Operation.STORE)


class LayerLayout(data.StructLayout):
    """Registers of the running layer, one member a descriptor field that the configuration has.

    A register is as narrow as the configuration allows; a field with an offset holds the value less
    the offset.
    """

    def __init__(self, config: AcceleratorConfig):
        row = bits_for(config.memory.activation_words - 1)
        group = bits_for(config.engine.group)
        slot = bits_for(config.engine.window_groups)
        weight = bits_for(config.memory.weight_words)
        narrower = {
            "in_base": row,
            "in2_base": row,
            "out_base": row,
            "in_pitch": row,
            "out_pitch": row,
            "out_tiles": row + 1,
            "last_lanes": bits_for(config.engine.lanes),
            "origin": pixel_bits(config),
            "delta_pixel": pixel_bits(config),
            "delta_row": pixel_bits(config),
            "tap_row": pixel_bits(config),
            "chunk_groups": slot,
            "last_chunk_groups": slot,
            "last_positions": group,
            "k": group,
            "k_last": group,
            "last_columns": bits_for(config.engine.width),
            "weight_base": weight,
            "weight_count": weight,
            "param_base": bits_for(config.memory.parameter_words - 1),
            "table_base": bits_for(config.memory.parameter_words - 1),
            "external": config.memory.external_address_bits,
            **_pitch_of_moves(config, row),
            **{name: field.width for name, field in narrowed(config).items()},
        }
        super().__init__(
            {
                name: (signed if field.signed else unsigned)(narrower.get(name, field.width))
                for name, field in FIELDS.items()
                if name not in absent(config)
            }
        )
