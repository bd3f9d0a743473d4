"""From an integer network to descriptors, parameters, packed weights and a memory plan."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..contract.accelerator import MEMORIES, ArrayConfig
from ..contract.descriptor import DESCRIPTOR_WORDS, Descriptor
from ..contract.tile import TileConfig
from ..engines.crossbar import (
    DeviceEffects,
    LayerMapping,
    NetworkMapping,
    accumulator_bound,
    map_network,
)
from ..errors import DoesNotFit, UserError
from ..network import Conv, Layer, Network
from ..program import LayerEntry, Plane, Program
from .crossbar import cells_items, estimate, pack_layer, tile_convolution
from .cycles import predict
from .layers import (
    KRequest,
    check_features,
    choose_k,
    convolution,
    pieces,
    pool_parameters,
    requested_k,
    schedule,
    serial_scale,
    walk,
)
from .memory import Buffer, assign, lifetimes
from .packing import Schedule, grouped, nonzeros, pack_weights
from .proof import fold_bias, group_bounds

__all__ = ["compile"]

Progress = Callable[[int, int, str], None]
"""Called with layers done, layers in all, and the name of the layer being packed."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Everything about a layer that is known before its weights are packed."""

    layer: Layer
    descriptors: tuple[Descriptor, ...]
    channels: tuple[tuple[int, int], ...]
    parameters: NDArray[np.uint32]
    cut: Schedule | None = None
    mapping: LayerMapping | None = None
    effects: DeviceEffects | None = None
    nnz: int = 0

    @property
    def weight_items(self) -> int:
        return sum(descriptor.weight_count for descriptor in self.descriptors)


def _parameter_words(
    layer: str,
    bias: NDArray[np.int32],
    multiplier: NDArray[np.int32],
    shift: NDArray[np.int32],
    config: ArrayConfig,
) -> NDArray[np.uint32]:
    if config.requantizer_cycles > 1:
        pairs = zip(multiplier.tolist(), shift.tolist(), strict=True)
        scales = [serial_scale(layer, *pair) for pair in pairs]
        multiplier, shift = np.array(scales, np.int32).T
    high = multiplier.astype(np.uint32) | shift.astype(np.uint32) << np.uint32(24)
    return np.stack([bias.astype(np.int32).view(np.uint32), high], axis=1)


def _plan_conv(
    network: Network, conv: Conv, base: Descriptor, requested: int | None, config: ArrayConfig
) -> _Plan:
    weights = grouped(conv.weight, config.group)
    counts = nonzeros(weights)
    bounds = group_bounds(weights)
    k = choose_k(conv.name, counts, requested, config.group)
    zero = network.tensor(conv.inputs[0]).zero_point
    bias = fold_bias(conv.name, conv.bias, zero, conv.weight, bounds)
    cut = schedule(conv, base, k, bounds, config)
    channels = pieces(len(weights), cut, config)
    return _Plan(
        layer=conv,
        descriptors=tuple(convolution(base, last - first, cut, config) for first, last in channels),
        channels=tuple(channels),
        parameters=_parameter_words(conv.name, bias, conv.multiplier, conv.shift, config),
        cut=cut,
        nnz=int(counts.sum(dtype=np.int64)),
    )


def _plan_mapped(
    network: Network,
    conv: Conv,
    base: Descriptor,
    mapping: LayerMapping,
    effects: DeviceEffects | None,
    config: TileConfig,
) -> _Plan:
    zero = network.tensor(conv.inputs[0]).zero_point
    bounds = group_bounds(grouped(conv.weight, config.group))
    bias = fold_bias(conv.name, conv.bias, zero, conv.weight, bounds)
    # A converter that rounds up, or a cell that is off, can exceed what the weights allow.
    reach = accumulator_bound(mapping, effects) + np.abs(bias.astype(np.int64))
    if reach.max() >= 1 << 31:
        raise DoesNotFit(
            f"Layer {conv.name!r} can reach sums of {reach.max()} in output channel "
            f"{reach.argmax()}, which 32 bits do not hold; use smaller weights or bias."
        )
    return _Plan(
        layer=conv,
        descriptors=(tile_convolution(base, mapping, config),),
        channels=((0, len(conv.weight)),),
        parameters=_parameter_words(conv.name, bias, conv.multiplier, conv.shift, config),
        mapping=mapping,
        effects=effects,
        nnz=int(np.count_nonzero(conv.weight)),
    )


def _plan(
    network: Network,
    layer: Layer,
    k: dict[str, int | None],
    batch: int,
    config: ArrayConfig,
    mapping: NetworkMapping | None,
    effects: DeviceEffects | None,
) -> _Plan:
    base = walk(network, layer, batch, config.lanes)
    base.words(layer.name, config)
    check_features(network, layer, base, config)
    if isinstance(layer, Conv):
        if isinstance(config, TileConfig) and mapping is not None:
            own = mapping.layers[layer.name]
            return _plan_mapped(network, layer, base, own, effects, config)
        return _plan_conv(network, layer, base, k[layer.name], config)
    bias, multiplier, shift = np.array(pool_parameters(network, layer), np.int32).T
    return _Plan(
        layer=layer,
        descriptors=(base,),
        channels=((0, base.in_channels),),
        parameters=_parameter_words(layer.name, bias, multiplier, shift, config),
    )


def _check_capacity(
    network: Network, plans: list[_Plan], activation_words: int, config: ArrayConfig
) -> None:
    needs = (
        ("activation words", "activation_words", activation_words),
        ("weight words", "weight_words", sum(plan.weight_items for plan in plans)),
        ("parameter words", "parameter_words", sum(len(plan.parameters) for plan in plans)),
        ("layer descriptors", "max_layers", sum(len(plan.descriptors) for plan in plans)),
    )
    short, grown = [], {}
    for what, name, need in needs:
        have = getattr(config, name)
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


def _link(
    network: Network, plans: list[_Plan], bases: dict[str, int]
) -> list[tuple[Descriptor, ...]]:
    """Descriptors of each layer with all addresses filled in."""
    linked = []
    weight_base = param_base = 0
    for plan in plans:
        layer = plan.layer
        done = []
        for descriptor, (first, _) in zip(plan.descriptors, plan.channels, strict=True):
            done.append(
                replace(
                    descriptor,
                    in_base=bases[layer.inputs[0]],
                    in2_base=bases[layer.inputs[1]] if len(layer.inputs) > 1 else 0,
                    out_base=bases[layer.output] + first * descriptor.out_pitch,
                    weight_base=weight_base if descriptor.weight_count else 0,
                    param_base=param_base + first,
                )
            )
            weight_base += descriptor.weight_count
        param_base += len(plan.parameters)
        linked.append(tuple(done))
    return linked


def _entries(
    network: Network,
    plans: list[_Plan],
    linked: list[tuple[Descriptor, ...]],
    buffers: list[Buffer],
    bases: dict[str, int],
    config: ArrayConfig,
) -> list[LayerEntry]:
    """Layer table of the program."""
    entries = []
    first = 0
    for index, (plan, descriptors) in enumerate(zip(plans, linked, strict=True)):
        shape = network.tensor(plan.layer.output).shape
        pixels = descriptors[0].batch * shape[1] * shape[2]
        entries.append(
            LayerEntry(
                name=plan.layer.name,
                kind=plan.layer.kind,
                k=plan.cut.k if plan.cut else None,
                first=first,
                count=len(descriptors),
                output=Plane(bases[plan.layer.output], descriptors[0].out_pitch, shape),
                nnz=plan.nnz,
                kept=_kept(plan),
                weight_items=plan.weight_items,
                activation_words=sum(b.words for b in buffers if b.first <= index <= b.last),
                ideal_cycles=_ideal_cycles(plan, descriptors, pixels, config),
                predicted_cycles=_predicted_cycles(plan, descriptors, config),
            )
        )
        first += len(descriptors)
    return entries


def _kept(plan: _Plan) -> int:
    """Weights stored for a layer."""
    if plan.mapping is not None:
        return plan.mapping.weights
    return len(plan.parameters) * plan.cut.slots if plan.cut else 0


def _ideal_cycles(
    plan: _Plan, descriptors: tuple[Descriptor, ...], pixels: int, config: ArrayConfig
) -> int:
    if plan.mapping is not None and isinstance(config, TileConfig):
        steps = cells_items(plan.mapping, config) * config.crossbar.steps
        return sum(descriptor.out_tiles for descriptor in descriptors) * steps
    return -(-plan.nnz * pixels // config.macs_per_cycle)


def _predicted_cycles(plan: _Plan, descriptors: tuple[Descriptor, ...], config: ArrayConfig) -> int:
    if plan.mapping is not None and isinstance(config, TileConfig):
        return sum(estimate(each, plan.mapping, config) for each in descriptors)
    return sum(predict(each, config) for each in descriptors)


def _packed(
    plan: _Plan, descriptors: tuple[Descriptor, ...], config: ArrayConfig
) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Weight items of each descriptor with the place of the first."""
    if plan.mapping is not None and isinstance(config, TileConfig):
        yield descriptors[0].weight_base, pack_layer(plan.mapping, config, plan.effects)
    elif plan.cut is not None and isinstance(plan.layer, Conv):
        weights = grouped(plan.layer.weight, config.group)
        for each, (first, last) in zip(descriptors, plan.channels, strict=True):
            yield each.weight_base, pack_weights(weights[first:last], plan.cut, config)


def compile(
    network: Network,
    config: ArrayConfig,
    *,
    batch: int = 1,
    k: KRequest = "auto",
    method: str = "pattern",
    effects: DeviceEffects | None = None,
    progress: Progress | None = None,
) -> Program:
    """Program of a network for one configuration.

    Parameters
    ----------
    network : integer network
    config : the accelerator's configuration
    batch : images computed together, 1 to 65535
    k : weights kept in each group: ``"auto"`` takes each layer's smallest, ``"dense"`` the whole
        group, an integer holds for all layers, a mapping for the layers it names (others: auto);
        only the array looks at it
    method : how a tile's crossbar holds the weights, see
        :func:`steelyard.engines.crossbar.map_network`;
        only the tile looks at it
    effects : faults of the tile's cells, which its cells then hold as a real crossbar's would
    progress : called with layers done, layers in all and the layer's name

    Raises
    ------
    UserError
        If a layer cannot be computed, or `k` is smaller than its weights need; names the layer.
        If there are effects, but no crossbar to have them.
    DoesNotFit
        If memories or accumulators are too small; says by how much, before any weight is packed.
    """
    if not isinstance(network, Network) or not isinstance(config, ArrayConfig):
        given = f"{type(network).__name__} and {type(config).__name__}"
        raise UserError(
            f"A network is compiled for an ArrayConfig or TileConfig, but {given} were given; "
            "load an ONNX file with steelyard.importer.load first."
        )
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= 65535:
        raise UserError(f"The batch must be an integer from 1 to 65535, not {batch!r}; use 1.")
    if not network.layers:
        raise UserError(f"Network {network.name!r} has no layers; add at least one.")
    requested = requested_k(k, network, config.group)
    tile = config if isinstance(config, TileConfig) else None
    if effects is not None and tile is None:
        raise UserError(
            "Device effects are those of a crossbar's cells, which the sparse array does not have; "
            "give a TileConfig."
        )
    mapping = map_network(network, tile.crossbar, method) if tile else None
    # With memories that hold everything: how large they are changes no plan, and what is too much
    # for those of the configuration is said of the whole network.
    room = config.with_(**MEMORIES)
    plans = [
        _plan(network, layer, requested, batch, room, mapping, effects) for layer in network.layers
    ]
    buffers = lifetimes(network, batch, config.lanes)
    peak, bases = assign(buffers)
    _check_capacity(network, plans, peak, config)
    linked = _link(network, plans, bases)
    entries = _entries(network, plans, linked, buffers, bases, config)

    descriptors = [
        each.words(plan.layer.name, config)
        for plan, layer in zip(plans, linked, strict=True)
        for each in layer
    ]
    total = sum(plan.weight_items for plan in plans)
    items = np.zeros((total, config.weight_item_words), np.uint32)
    for done, (plan, layer) in enumerate(zip(plans, linked, strict=True)):
        if progress is not None:
            progress(done, len(plans), plan.layer.name)
        for base, packed in _packed(plan, layer, config):
            items[base : base + len(packed)] = packed
    if progress is not None:
        progress(len(plans), len(plans), plans[-1].layer.name)

    shape = network.tensor(network.input).shape
    return Program(
        config=config,
        network=network,
        batch=batch,
        input=Plane(bases[network.input], plans[0].descriptors[0].in_pitch, shape),
        layers=tuple(entries),
        method=method if tile else None,
        effects=effects,
        mapped=mapping,
        descriptors=np.array(descriptors, np.uint32).reshape(-1, DESCRIPTOR_WORDS),
        parameters=np.concatenate([plan.parameters for plan in plans]),
        weights=items,
    )
