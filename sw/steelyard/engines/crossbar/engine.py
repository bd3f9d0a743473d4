"""The crossbar tile as an engine."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...contract import AcceleratorConfig, Descriptor
from ...errors import DoesNotFit
from ...network import Conv, Network
from ..columns import Column, Row, field
from ..engine import Engine, Limits, Plan
from ..proof import weights_by_group
from .bounds import accumulator_bound
from .config import CrossbarTileConfig
from .counters import StoppedCounters, UnitCounters
from .golden import layer as golden_layer
from .golden import run
from .mapping import NetworkMapping, map_network
from .settings import CrossbarTileSettings
from .weights import cells_items, crossbar_convolution, estimate, pack_layer

if TYPE_CHECKING:
    from ...program import Program

__all__ = ["ENGINE", "CrossbarTile"]

Config = AcceleratorConfig[CrossbarTileConfig]
Prepared = tuple[CrossbarTileSettings, NetworkMapping]


class CrossbarTile(Engine):
    """Emulated RRAM crossbar: operation units step through bits, steps of zeros are skipped."""

    kind = "crossbar"
    options = ("mapping", "effects")

    def counters(self, config: Config) -> type[UnitCounters]:
        """Of operation units, and of what converters resolve where they stop."""
        return StoppedCounters if _stops(config) else UnitCounters

    def prepare(
        self, network: Network, config: Config, options: Mapping[str, Any]
    ) -> tuple[CrossbarTileSettings, NetworkMapping, Prepared]:
        """Settings, and the network's mapping."""
        settings = CrossbarTileSettings(**options)
        mapping = map_network(network, config.engine.crossbar, settings.mapping)
        return settings, mapping, (settings, mapping)

    def plan(
        self, network: Network, layer: Conv, base: Descriptor, config: Config, prepared: Prepared
    ) -> Plan:
        """Plan of a mapped layer; sums must not overflow, whatever converters and cells do."""
        settings, mappings = prepared
        mapping = mappings.layers[layer.name]
        zero = network.tensor(layer.inputs[0]).zero_point
        weights = weights_by_group(layer, config.engine.group)
        bias = weights.folded_bias(layer, zero)
        # A converter that rounds up, or a cell that is off, can exceed what the weights allow.
        reach = accumulator_bound(mapping, settings.effects) + np.abs(bias.astype(np.int64))
        if reach.max() >= 1 << 31:
            raise DoesNotFit(
                f"Layer {layer.name!r} can reach sums of {reach.max()} in output channel "
                f"{reach.argmax()}, which 32 bits do not hold; use smaller weights or bias."
            )
        descriptor = crossbar_convolution(base, mapping, config)
        steps = cells_items(mapping, config) * config.engine.crossbar.steps
        return Plan(
            descriptors=(descriptor,),
            channels=((0, len(layer.weight)),),
            bias=bias,
            nnz=weights.nnz,
            kept=mapping.weights,
            ideal_cycles=descriptor.out_tiles * steps,
            predicted_cycles=estimate(descriptor, mapping, config),
            k=None,
            own=(mapping, settings.effects),
        )

    def pack(self, layer: Conv, plan: Plan, config: Config) -> Iterator[NDArray[np.uint32]]:
        """Rows of operation units and the cells on them in turn."""
        mapping, effects = plan.own
        yield pack_layer(mapping, config, effects)

    def predict(self, descriptor: Descriptor, config: Config) -> int:
        """Nothing that the descriptor says.

        Raises
        ------
        ValueError
            Always: the time follows from the mapped weights.
        """
        raise ValueError(
            "The cycles of a tile's convolution follow from its operation units, of which the "
            "descriptor says nothing; take those of the compiled program (predict_program)"
        )

    @property
    def exact(self) -> bool:
        """No: steps without a live input bit are skipped."""
        return False

    def mapping(self, program: "Program") -> NetworkMapping:
        """The network's weights in crossbars."""
        config = program.config.engine.crossbar
        return map_network(program.network, config, program.settings.mapping)

    def golden(self, program: "Program", x: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        """Every tensor as the crossbars compute it, with converters and faults."""
        effects = program.settings.effects
        return run(program.network, program.mapping, x, effects=effects).tensors

    def golden_layer(
        self, program: "Program", layer: Conv, x: NDArray[np.int8]
    ) -> NDArray[np.int8]:
        """Output of a mapped layer."""
        mapping, effects = program.mapping.layers[layer.name], program.settings.effects
        output, _ = golden_layer(program.network, layer, mapping, x, effects=effects)
        return output

    def settings_to_dict(self, settings: CrossbarTileSettings) -> dict[str, Any]:
        """Mapping and effects."""
        return settings.to_dict()

    def settings_from_dict(self, values: Any) -> CrossbarTileSettings:
        """Settings of plain values."""
        return CrossbarTileSettings.from_dict(values)

    def plan_columns(self, program: "Program") -> tuple[Column, ...]:
        """Weights, those that take cells, and operation units."""
        layers = program.mapping.layers
        return (
            *super().plan_columns(program),
            field("stored", "kept", weights=True, added=True),
            Column("OUs", lambda row: layers[row["name"]].operation_units, True, True),
        )

    def run_columns(self, program: "Program") -> tuple[Column, ...]:
        """Steps of operation units, and conversions."""
        return (
            _unit("OU steps", "ou_steps"),
            _unit("OU skipped", "ou_skipped"),
            Column("skipped", lambda row: _skipped(row["units"]), weights=True, share=True),
            _unit("ADC conv.", "adc_conversions"),
            *((_unit("ADC bits", "adc_decisions"),) if _stops(program.config) else ()),
        )

    def luts(self, config: Config, pair_luts: int) -> int:
        """Fit to crossbar tiles on the ECP5 (docs/notes/bitstreams.md), less what all engines have.

        Each cell of an operation unit gates its bits for every lane and adds them to its bitline;
        each weight has an accumulator in every lane. Where converters stop, cells are added up
        once more for all lanes: 767 and 724 for 9 rows of 8 bitlines of 4-bit cells and of 16 of 2
        bits, 200 in the counters, by yosys of these parts alone. Where units form of live rows, the
        bits of a waiting sum take 2.25 in every lane, and each row 24 to be told apart: within 5 %
        of what yosys adds to the bitlines of three tiles (docs/notes/crossbar.md).
        """
        engine = config.engine
        unit = engine.crossbar
        bits = unit.cell_bits * (1 if _multiplies(config) else unit.dac_bits)
        cells = engine.lanes * unit.ou_rows * engine.item_columns
        levels = unit.ou_rows * engine.item_columns * unit.cell_bits
        reaches = _stops(config) * (200 + 2.7 * levels * (not unit.dynamic))
        waiting = engine.item_columns * unit.greatest_sum.bit_length()
        formed = unit.dynamic * engine.lanes * (2.25 * waiting + 24 * unit.ou_rows)
        own = 3.3 * cells * bits + 119 * engine.lanes * engine.item_weights
        return round(4100 + own + reaches + formed)

    def products(self, config: Config) -> int:
        """Multiplications of the counters, and of the cells where these take any."""
        engine = config.engine
        cells = engine.lanes * engine.crossbar.ou_rows * engine.item_columns
        counters = (3 if engine.ou_parallel == 1 else 6) + 2 * _stops(config)
        return counters + cells * _multiplies(config)

    def multipliers(self, config: Config, lanes_per_multiplier: int) -> int:
        """As many as products: lanes do not share them."""
        return self.products(config)

    def memories(self, config: Config) -> Iterator[tuple[int, int]]:
        """Window memory, sums, and counters of operation units."""
        engine = config.engine
        yield engine.window_groups * engine.group, 8 * engine.lanes
        yield engine.partial_sum_channels, 32 * engine.lanes
        yield config.memory.max_layers * COUNTED, 64

    def limits(self, config: Config, multipliers: int) -> Limits:
        """Words about a device that is too small."""
        engine = config.engine
        # Cells of several bits need no multiplier if the inputs have one.
        bits = "dac_bits, ou_rows, ou_columns" if engine.crossbar.dac_bits > 1 else "lanes"
        return Limits(
            multiplications=f"{multipliers} for cells and counters of the {config.outline}",
            multipliers=f"{bits} or requantizers",
            memories=f", {engine.window_groups} window_groups or {engine.partial_sum_channels} "
            "partial_sum_channels",
            logic="lanes, ou_rows, ou_columns, ou_parallel or requantizers",
        )


def _unit(title: str, name: str) -> Column:
    return Column(title, lambda row: row["units"][name], weights=True)


def _skipped(units: Row) -> float:
    """Share of the steps that were left out."""
    steps = units["ou_steps"] + units["ou_skipped"]
    return units["ou_skipped"] / steps if steps else 0.0


def _stops(config: Config) -> bool:
    """Whether the tile counts what its converters resolve."""
    return config.engine.crossbar.adc_resolve == "reach"


def _multiplies(config: Config) -> bool:
    """Whether inputs and cells of a tile are both of several bits, and a multiplier's work."""
    unit = config.engine.crossbar
    return unit.dac_bits > 1 and unit.cell_bits > 1


COUNTED = 8
"""Words of 64 bits that a layer's counters take."""
ENGINE = CrossbarTile()
