"""Plan of each layer of a network for one configuration: descriptors and parameters."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import AcceleratorConfig
from ..contract.descriptor import Operation
from ..contract.limits import TABLE_ITEMS
from ..engines import Engine, Plan
from ..errors import UserError
from ..network import Conv, Layer, Network
from ..network.grouped import blocks
from .cycles import predict
from .fusion import Fusion
from .layers import LOWERINGS, check_features, serial_scale, walk
from .step import Step

__all__ = ["LayerPlan", "Planner"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerPlan:
    """Everything about a layer that is known before its weights are packed.

    Members
    -------
    parts : convolutions of one group and what the engine decided about each; none for a layer
        without weights
    table : parameter item of the layer with which its table begins, if it has one
    addend : tensor that is added to its results, if one is
    stored : whether its output gets into memory, and not only that of what follows at once
    """

    layer: Layer
    steps: tuple[Step, ...]
    parameters: NDArray[np.uint32]
    predicted_cycles: int
    parts: tuple[tuple[Conv, Plan], ...] = ()
    table: int = 0
    addend: str | None = None
    stored: bool = True

    @property
    def weight_items(self) -> int:
        return sum(step.descriptor.weight_count for step in self.steps)

    @property
    def k(self) -> int | None:
        return max((plan.k for _, plan in self.parts if plan.k is not None), default=None)

    def total(self, name: str) -> int:
        """Sum of what the engine says of each part."""
        return sum(getattr(plan, name) for _, plan in self.parts)


def _parameter_words(
    layer: str,
    bias: NDArray[np.int32],
    multiplier: NDArray[np.int32],
    shift: NDArray[np.int32],
    negative: NDArray[np.int32] | None,
    config: AcceleratorConfig,
) -> NDArray[np.uint32]:
    if config.output.requantizer_cycles > 1:
        pairs = zip(multiplier.tolist(), shift.tolist(), strict=True)
        scales = [serial_scale(layer, *pair) for pair in pairs]
        multiplier, shift = np.array(scales, np.int32).reshape(-1, 2).T
    high = multiplier.astype(np.uint32) | shift.astype(np.uint32) << np.uint32(24)
    words = [bias.astype(np.int32).view(np.uint32), high]
    if config.output.slopes:
        words.append((multiplier if negative is None else negative).astype(np.uint32))
    return np.stack(words, axis=1)


def _with_table(parameters: NDArray[np.uint32], table: NDArray[np.int8]) -> NDArray[np.uint32]:
    """Parameter items, and behind them those of a table."""
    entries = np.zeros((TABLE_ITEMS, parameters.shape[1]), np.uint32)
    entries[:, :2] = table.reshape(TABLE_ITEMS, -1).view("<u4")
    return np.concatenate([parameters, entries])


@dataclass(frozen=True, kw_only=True, eq=False)
class Planner:
    """What all layers are planned with."""

    network: Network
    batch: int
    config: AcceleratorConfig
    engine: Engine
    prepared: Any
    fusions: dict[str, Fusion]

    def layer(self, layer: Layer, growth: int) -> LayerPlan:
        """Plan of one layer; `growth` is how much larger blocks of groups are than they need be."""
        if isinstance(layer, Conv):
            return self._convolution(layer, growth)
        for fusion in self.fusions.values():
            if layer.name in [each.name for each in fusion.following]:
                return self._computed(layer, fusion)
        lower = LOWERINGS.get(type(layer))
        if lower is None:
            known: list[type[Layer]] = [Conv, *LOWERINGS]
            *most, last = (kind.__name__ for kind in known)
            raise UserError(
                f"Layer {layer.name!r} is a {type(layer).__name__}, which the compiler does not "
                f"know; use {', '.join(most)} or {last}."
            )
        lowered = lower(self.network, layer, self.batch, self.config)
        steps, items, table, below = lowered
        for step in steps:
            step.descriptor.words(layer.name, self.config)
            check_features(layer, step.descriptor, self.config)
        bias, multiplier, shift = np.array(items, np.int32).reshape(-1, 3).T
        negative = None if below is None else np.full_like(multiplier, below)
        scaling = (multiplier, shift, negative)
        parameters = _parameter_words(layer.name, bias, *scaling, self.config)
        return LayerPlan(
            layer=layer,
            steps=tuple(steps),
            parameters=parameters if table is None else _with_table(parameters, table),
            table=len(parameters),
            predicted_cycles=sum(predict(step.descriptor, self.config) for step in steps),
        )

    def _convolution(self, layer: Conv, growth: int) -> LayerPlan:
        config = self.config
        base = walk(self.network, layer, Operation.CONV, self.batch, config.engine.lanes)
        fusion = self.fusions.get(layer.name, Fusion(conv=layer))
        base = base.but(**fusion.fields(self.network))
        base.words(layer.name, config)
        check_features(layer, base, config)
        parts, steps = [], []
        inputs, outputs = config.engine.group * growth, config.engine.width * growth
        for block in blocks(layer, inputs, outputs):
            own = base.but(in_channels=block.channels[0])
            plan = self.engine.plan(self.network, block.conv, own, config, self.prepared)
            parts.append((block.conv, plan))
            for descriptor, (first, _) in zip(plan.descriptors, plan.channels, strict=True):
                writes = block.writes + first
                steps.append(
                    Step(descriptor=descriptor, reads=block.reads, writes=writes, item=writes)
                )
        bias = np.concatenate([plan.bias for _, plan in parts])
        scaling = (layer.multiplier, layer.shift, layer.negative_multiplier)
        parameters = _parameter_words(layer.name, bias, *scaling, config)
        table = len(parameters)
        if fusion.lookup is not None:
            parameters = _with_table(parameters, fusion.lookup.table)
        return LayerPlan(
            layer=layer,
            steps=tuple(steps),
            parameters=parameters,
            predicted_cycles=sum(plan.predicted_cycles for _, plan in parts),
            parts=tuple(parts),
            table=table,
            addend=fusion.addend,
            stored=not fusion.following,
        )

    def _computed(self, layer: Layer, fusion: Fusion) -> LayerPlan:
        """Plan of a layer that is computed with a convolution."""
        return LayerPlan(
            layer=layer,
            steps=(),
            parameters=np.zeros((0, len(self.config.parameter_bits)), np.uint32),
            predicted_cycles=0,
            stored=layer.name == fusion.following[-1].name,
        )

    def all(self, most: int) -> list[LayerPlan]:
        """Plans of all layers, in larger blocks where there are more than `most` descriptors."""
        growth = 1
        while True:
            plans = [self.layer(layer, growth) for layer in self.network.layers]
            groups = [len(plan.parts) for plan in plans]
            descriptors = sum(len(plan.steps) for plan in plans)
            if descriptors <= most or max(groups) <= 1:
                return plans
            growth *= 2
