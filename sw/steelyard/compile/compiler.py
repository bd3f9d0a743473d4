"""From an integer network to descriptors, parameters, packed weights and a memory plan."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import DESCRIPTOR_WORDS, AcceleratorConfig, Descriptor, registry
from ..contract.descriptor import Operation
from ..contract.limits import TABLE_ITEMS
from ..contract.sections import MEMORIES
from ..engines import Engine, Plan
from ..errors import DoesNotFit, UserError
from ..network import Conv, Layer, Network
from ..network.grouped import blocks, ungroup
from ..program import LayerEntry, Plane, Program
from ..progress import Progress
from .cycles import predict
from .layers import LOWERINGS, check_features, serial_scale, walk
from .memory import Buffer, assign, lifetimes, plane_pitch
from .places import Places, separate
from .step import Step

__all__ = ["compile"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plan:
    """Everything about a layer that is known before its weights are packed.

    Members
    -------
    parts : convolutions of one group and what the engine decided about each; none for a layer
        without weights
    table : parameter item of the layer with which its table begins, if it has one
    """

    layer: Layer
    steps: tuple[Step, ...]
    parameters: NDArray[np.uint32]
    predicted_cycles: int
    parts: tuple[tuple[Conv, Plan], ...] = ()
    table: int = 0

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
class _Planner:
    """What all layers are planned with."""

    network: Network
    batch: int
    config: AcceleratorConfig
    engine: Engine
    prepared: Any

    def layer(self, layer: Layer, growth: int) -> _Plan:
        """Plan of one layer; `growth` is how much larger blocks of groups are than they need be."""
        if isinstance(layer, Conv):
            return self._convolution(layer, growth)
        lower = LOWERINGS.get(type(layer))
        if lower is None:
            known: list[type[Layer]] = [Conv, *LOWERINGS]
            *most, last = (kind.__name__ for kind in known)
            raise UserError(
                f"Layer {layer.name!r} is a {type(layer).__name__}, which the compiler does not "
                f"know; use {', '.join(most)} or {last}."
            )
        lowered = lower(self.network, layer, self.batch, self.config.engine.lanes)
        steps, items, table, below = lowered
        for step in steps:
            step.descriptor.words(layer.name, self.config)
            check_features(layer, step.descriptor, self.config)
        bias, multiplier, shift = np.array(items, np.int32).reshape(-1, 3).T
        negative = None if below is None else np.full_like(multiplier, below)
        scaling = (multiplier, shift, negative)
        parameters = _parameter_words(layer.name, bias, *scaling, self.config)
        return _Plan(
            layer=layer,
            steps=tuple(steps),
            parameters=parameters if table is None else _with_table(parameters, table),
            table=len(parameters),
            predicted_cycles=sum(predict(step.descriptor, self.config) for step in steps),
        )

    def _convolution(self, layer: Conv, growth: int) -> _Plan:
        config = self.config
        base = walk(self.network, layer, Operation.CONV, self.batch, config.engine.lanes)
        base.words(layer.name, config)
        check_features(layer, base, config)
        parts, steps = [], []
        inputs, outputs = config.engine.group * growth, config.engine.width * growth
        for block in blocks(layer, inputs, outputs):
            own = replace(base, in_channels=block.channels[0])
            plan = self.engine.plan(self.network, block.conv, own, config, self.prepared)
            parts.append((block.conv, plan))
            for descriptor, (first, _) in zip(plan.descriptors, plan.channels, strict=True):
                writes = block.writes + first
                steps.append(
                    Step(descriptor=descriptor, reads=block.reads, writes=writes, item=writes)
                )
        bias = np.concatenate([plan.bias for _, plan in parts])
        scaling = (layer.multiplier, layer.shift, layer.negative_multiplier)
        return _Plan(
            layer=layer,
            steps=tuple(steps),
            parameters=_parameter_words(layer.name, bias, *scaling, config),
            predicted_cycles=sum(plan.predicted_cycles for _, plan in parts),
            parts=tuple(parts),
        )

    def all(self, most: int) -> list[_Plan]:
        """Plans of all layers, in larger blocks where there are more than `most` descriptors."""
        growth = 1
        while True:
            plans = [self.layer(layer, growth) for layer in self.network.layers]
            groups = [len(plan.parts) for plan in plans]
            descriptors = sum(len(plan.steps) for plan in plans)
            if descriptors <= most or max(groups) <= 1:
                return plans
            growth *= 2


def _check_capacity(
    network: Network, plans: list[_Plan], activation_words: int, config: AcceleratorConfig
) -> None:
    needs = (
        ("activation words", "activation_words", activation_words),
        ("weight words", "weight_words", sum(plan.weight_items for plan in plans)),
        ("parameter words", "parameter_words", sum(len(plan.parameters) for plan in plans)),
        ("layer descriptors", "max_layers", sum(len(plan.steps) for plan in plans)),
    )
    short, grown = [], {}
    for what, name, need in needs:
        have = getattr(config.memory, name)
        if need > have:
            excess = f"{need - have} too many"
            short.append(f"{need} {what} where the configuration has {have} ({excess})")
            grown[name] = need if name == "max_layers" else -(-need // 16) * 16
    if not short:
        return
    if any(value > MEMORIES[name] for name, value in grown.items()):
        grown, larger = {}, ""
    else:
        values = " and ".join(f"{name} to {value}" for name, value in grown.items())
        larger = f"raise {values} in the configuration, or "
    raise DoesNotFit(
        f"Network {network.name!r} does not fit: it needs {', and '.join(short)}",
        f"{larger}use a smaller batch or a sparser network.",
        grown,
    )


def _link(plans: list[_Plan], planes: dict[str, Plane]) -> list[tuple[Descriptor, ...]]:
    """Descriptors of each layer with all addresses filled in."""
    linked = []
    weight_base = param_base = 0
    for plan in plans:
        sources = [planes[name] for name in plan.layer.inputs]
        output = planes[plan.layer.output]
        done = []
        for step in plan.steps:
            bases = [each.base + step.reads * each.pitch for each in sources]
            done.append(
                replace(
                    step.descriptor,
                    in_base=bases[0],
                    in2_base=bases[1] if len(bases) > 1 else 0,
                    out_base=output.base + step.writes * output.pitch,
                    weight_base=weight_base if step.descriptor.weight_count else 0,
                    param_base=param_base + step.item,
                    table_base=param_base + plan.table if step.descriptor.table else 0,
                )
            )
            weight_base += step.descriptor.weight_count
        param_base += len(plan.parameters)
        linked.append(tuple(done))
    return linked


def _entries(
    plans: list[_Plan],
    linked: list[tuple[Descriptor, ...]],
    buffers: list[Buffer],
    planes: dict[str, Plane],
) -> list[LayerEntry]:
    """Layer table of the program."""
    entries = []
    first = 0
    for index, (plan, descriptors) in enumerate(zip(plans, linked, strict=True)):
        entries.append(
            LayerEntry(
                name=plan.layer.name,
                kind=plan.layer.kind,
                k=plan.k,
                first=first,
                count=len(descriptors),
                output=planes[plan.layer.output],
                nnz=plan.total("nnz"),
                kept=plan.total("kept"),
                weight_items=plan.weight_items,
                activation_words=sum(b.words for b in buffers if b.first <= index <= b.last),
                ideal_cycles=plan.total("ideal_cycles"),
                predicted_cycles=plan.predicted_cycles,
            )
        )
        first += len(descriptors)
    return entries


def _planes(
    network: Network, places: Places, bases: dict[str, int], batch: int, lanes: int
) -> dict[str, Plane]:
    """Place of every tensor, of the bases of the buffers that they lie in."""
    planes = {}
    for name, tensor in network.tensors.items():
        pitch = plane_pitch(tensor.shape, batch, lanes)
        base = bases[places.buffer(name)] + places.start(name) * pitch
        planes[name] = Plane(base, pitch, tensor.shape)
    return planes


def compile(
    network: Network,
    config: AcceleratorConfig,
    *,
    batch: int = 1,
    progress: Progress | None = None,
    **options: Any,
) -> Program:
    """Program of a network for one configuration.

    Parameters
    ----------
    network : integer network
    config : the accelerator's configuration
    batch : images computed together, 1 to 65535
    progress : called with layers done, layers in all and the layer's name
    options : of the engine. The array has `k`, weights kept in each group: ``"auto"`` (unless
        given) takes each layer's smallest, ``"dense"`` the whole group, an integer holds for all
        layers, a mapping for the layers it names (others: auto). The crossbar has `mapping`, how
        its crossbars hold the weights (``"pattern"`` unless given), and `effects`,
        :class:`~steelyard.engines.crossbar.DeviceEffects` of its cells.

    Raises
    ------
    UserError
        If a layer cannot be computed, or `k` is smaller than its weights need; names the layer.
        If the engine has no such option.
    DoesNotFit
        If memories or accumulators are too small; says by how much, before any weight is packed.
    """
    if not isinstance(network, Network) or not isinstance(config, AcceleratorConfig):
        given = f"{type(network).__name__} and {type(config).__name__}"
        raise UserError(
            f"A network is compiled for an AcceleratorConfig, but {given} were given; "
            "load an ONNX file with steelyard.importer.load first."
        )
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= 65535:
        raise UserError(f"The batch must be an integer from 1 to 65535, not {batch!r}; use 1.")
    if not network.layers:
        raise UserError(f"Network {network.name!r} has no layers; add at least one.")
    engine: Engine = registry.engine(config.engine.kind)
    for name in options:
        if name not in engine.options:
            own = ", ".join(engine.options) or "none"
            raise UserError(
                f"The {config.engine.title} has no option {name!r}; its options are {own}."
            )
    if not engine.cuts_layers:
        network = ungroup(network, config.engine.group, config.engine.width)
    network, places = separate(network)
    settings, mapping, prepared = engine.prepare(network, config, options)
    # With memories that hold everything: how large they are changes no plan, and what is too much
    # for those of the configuration is said of the whole network.
    room = config.with_(**MEMORIES)
    planner = _Planner(network=network, batch=batch, config=room, engine=engine, prepared=prepared)
    plans = planner.all(config.memory.max_layers)
    buffers = lifetimes(network, places, batch, config.engine.lanes)
    peak, bases = assign(buffers)
    _check_capacity(network, plans, peak, config)
    planes = _planes(network, places, bases, batch, config.engine.lanes)
    linked = _link(plans, planes)
    entries = _entries(plans, linked, buffers, planes)

    descriptors = [
        each.words(plan.layer.name, config)
        for plan, layer in zip(plans, linked, strict=True)
        for each in layer
    ]
    total = sum(plan.weight_items for plan in plans)
    items = np.zeros((total, config.engine.weight_item_words), np.uint32)
    for done, (plan, layer) in enumerate(zip(plans, linked, strict=True)):
        if progress is not None:
            progress(done, len(plans), plan.layer.name)
        packed = (words for part in plan.parts for words in engine.pack(*part, config))
        for each, words in zip(layer if plan.parts else (), packed, strict=True):
            items[each.weight_base : each.weight_base + len(words)] = words
    if progress is not None:
        progress(len(plans), len(plans), plans[-1].layer.name)

    return Program(
        config=config,
        network=network,
        batch=batch,
        input=planes[network.input],
        layers=tuple(entries),
        settings=settings,
        mapped=mapping,
        descriptors=np.array(descriptors, np.uint32).reshape(-1, DESCRIPTOR_WORDS),
        parameters=np.concatenate([plan.parameters for plan in plans]),
        weights=items,
    )
