"""The sparse array as an engine."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...contract import AcceleratorConfig, Descriptor
from ...network import Conv, Network, golden
from ..columns import Column, field
from ..engine import Engine, Limits, Plan
from ..proof import grouped, weights_by_group
from .config import ArrayConfig
from .cycles import convolution_busy, convolution_counts, convolution_cycles
from .packing import pack_weights
from .schedule import choose_k, convolution, pieces, requested_k, schedule
from .sharing import TAPS, bounds_by_rows, by_rows, shared, shares

if TYPE_CHECKING:
    from ...program import Program

__all__ = ["ENGINE", "SparseArray"]

Config = AcceleratorConfig[ArrayConfig]


class SparseArray(Engine):
    """Load-balanced array: each column keeps K weights of every group, so all have equal work."""

    kind = "array"
    options = ("k",)
    cuts_layers = True

    def prepare(
        self, network: Network, config: Config, options: Mapping[str, Any]
    ) -> tuple[None, None, dict[str, int | None]]:
        """Nothing to keep, and the K that each layer is asked for."""
        return None, None, requested_k(options.get("k", "auto"), network, config.engine.group)

    def plan(
        self,
        network: Network,
        layer: Conv,
        base: Descriptor,
        config: Config,
        prepared: Mapping[str, int | None],
    ) -> Plan:
        """Schedule of a layer, see :mod:`.schedule`."""
        weights = weights_by_group(layer, config.engine.group)
        bounds = weights.bounds
        k = choose_k(layer.name, weights.counts, prepared[layer.name], config.engine.group)
        zero = network.tensor(layer.inputs[0]).zero_point
        if base.kernel_w == TAPS and base.in_channels % config.engine.group == 0:
            rows = bounds_by_rows(layer, weights)
            if shares(base, rows, config):
                base, bounds = shared(base), rows
        cut = schedule(layer, base, k, bounds, config)
        channels = pieces(len(layer.weight), cut, config)
        descriptors = tuple(
            convolution(base, last - first, cut, config) for first, last in channels
        )
        _, height, width = network.tensor(layer.output).shape
        work = weights.nnz * base.batch * height * width
        return Plan(
            descriptors=descriptors,
            channels=tuple(channels),
            bias=weights.folded_bias(layer, zero),
            nnz=weights.nnz,
            kept=len(layer.weight) * cut.slots,
            ideal_cycles=-(-work // config.engine.macs_per_cycle),
            predicted_cycles=sum(convolution_cycles(each, config) for each in descriptors),
            k=cut.k,
            own=cut,
        )

    def pack(self, layer: Conv, plan: Plan, config: Config) -> Iterator[NDArray[np.uint32]]:
        """Values and indices of the weights, in the order in which the columns take them."""
        weights = grouped(layer.weight, config.engine.group)
        if plan.own.taps == TAPS:
            weights = by_rows(layer, weights)
        for first, last in plan.channels:
            yield pack_weights(weights[first:last], plan.own, config)

    def predict(self, descriptor: Descriptor, config: Config) -> int:
        """Cycles of a convolution, exactly."""
        return convolution_cycles(descriptor, config)

    def busy(self, descriptor: Descriptor, config: Config) -> dict[str, int]:
        """Cycles of loader, columns and drain, each alone."""
        return convolution_busy(descriptor, config)

    def counts(self, descriptor: Descriptor, config: Config) -> dict[str, int]:
        """All of them, exactly."""
        return convolution_counts(descriptor, config)

    @property
    def integer(self) -> bool:
        """Yes: there is nothing analog."""
        return True

    def golden(self, program: "Program", x: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        """Every tensor of the integer network."""
        return golden.run(program.network, x, trace=True)

    def golden_layer(
        self, program: "Program", layer: Conv, x: NDArray[np.int8]
    ) -> NDArray[np.int8]:
        """Output of the integer network's layer."""
        return golden.layer(program.network, layer, x)

    def plan_columns(self, program: "Program") -> tuple[Column, ...]:
        """K of the group, and weights."""
        group = program.config.engine.group
        return (
            Column("K", lambda row: f"{row['k']}/{group}", weights=True),
            *super().plan_columns(program),
        )

    def run_columns(self, program: "Program") -> tuple[Column, ...]:
        """K, and cycles of the multiplications alone."""
        return (field("K", "k", weights=True), *super().run_columns(program))

    def luts(self, config: Config, pair_luts: int) -> int:
        """Fit to routed builds (docs/notes/bitstreams.md, docs/notes/small-boards.md)."""
        engine = config.engine
        if config.output.requantizer_cycles == 1:
            # Selection of taps, and rotation of twice the banks: docs/notes/loading.md.
            each = 47 + pair_luts + 16 * engine.shared_taps
            return 4200 + each * engine.macs_per_cycle + 20 * (config.banks - engine.lanes)
        lane = 2 * engine.accumulator_bits
        return 3500 + 110 * engine.lanes + engine.columns * (engine.lanes * lane + 30)

    def products(self, config: Config) -> int:
        """One for each lane and column."""
        return config.engine.macs_per_cycle

    def multipliers(self, config: Config, lanes_per_multiplier: int) -> int:
        """Those of each column, of which one may serve several lanes."""
        return -(-config.engine.lanes // lanes_per_multiplier) * config.engine.columns

    def memories(self, config: Config) -> Iterator[tuple[int, int]]:
        """Window memory of each column, and the memory of partial sums."""
        engine = config.engine
        for _ in range(engine.columns):
            yield engine.window_groups * engine.group, 8 * engine.window_lanes
        beats, lanes = config.drain_beats, config.output.requantizers
        yield engine.partial_sum_channels * beats, 32 * lanes

    def limits(self, config: Config, multipliers: int) -> Limits:
        """Words about a device that is too small."""
        return Limits(
            multiplications=config.outline,
            multipliers="columns or requantizers",
            memories=f" or {config.engine.columns} columns",
            logic="lanes, columns or requantizers",
        )


ENGINE = SparseArray()
