"""From an integer network to descriptors, parameters, packed weights and a memory plan."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import DESCRIPTOR_WORDS, AcceleratorConfig, Descriptor, registry
from ..contract.sections import MEMORIES
from ..engines import Engine, Plan
from ..errors import DoesNotFit, UserError
from ..network import Conv, Layer, Network
from ..program import LayerEntry, Plane, Program
from ..progress import Progress
from .cycles import predict
from .layers import check_features, pool_parameters, serial_scale, walk
from .memory import Buffer, assign, lifetimes

__all__ = ["compile"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plan:
    """Everything about a layer that is known before its weights are packed.

    Members
    -------
    engine : what the engine decided, None for a layer without weights
    """

    layer: Layer
    descriptors: tuple[Descriptor, ...]
    channels: tuple[tuple[int, int], ...]
    parameters: NDArray[np.uint32]
    predicted_cycles: int
    engine: Plan | None = None

    @property
    def weight_items(self) -> int:
        return sum(descriptor.weight_count for descriptor in self.descriptors)


def _parameter_words(
    layer: str,
    bias: NDArray[np.int32],
    multiplier: NDArray[np.int32],
    shift: NDArray[np.int32],
    config: AcceleratorConfig,
) -> NDArray[np.uint32]:
    if config.output.requantizer_cycles > 1:
        pairs = zip(multiplier.tolist(), shift.tolist(), strict=True)
        scales = [serial_scale(layer, *pair) for pair in pairs]
        multiplier, shift = np.array(scales, np.int32).T
    high = multiplier.astype(np.uint32) | shift.astype(np.uint32) << np.uint32(24)
    return np.stack([bias.astype(np.int32).view(np.uint32), high], axis=1)


def _plan(
    network: Network,
    layer: Layer,
    batch: int,
    config: AcceleratorConfig,
    engine: Engine,
    prepared: Any,
) -> _Plan:
    base = walk(network, layer, batch, config.engine.lanes)
    base.words(layer.name, config)
    check_features(network, layer, base, config)
    if isinstance(layer, Conv):
        own = engine.plan(network, layer, base, config, prepared)
        return _Plan(
            layer=layer,
            descriptors=own.descriptors,
            channels=own.channels,
            parameters=_parameter_words(
                layer.name, own.bias, layer.multiplier, layer.shift, config
            ),
            predicted_cycles=own.predicted_cycles,
            engine=own,
        )
    bias, multiplier, shift = np.array(pool_parameters(network, layer), np.int32).T
    return _Plan(
        layer=layer,
        descriptors=(base,),
        channels=((0, base.in_channels),),
        parameters=_parameter_words(layer.name, bias, multiplier, shift, config),
        predicted_cycles=predict(base, config),
    )


def _check_capacity(
    network: Network, plans: list[_Plan], activation_words: int, config: AcceleratorConfig
) -> None:
    needs = (
        ("activation words", "activation_words", activation_words),
        ("weight words", "weight_words", sum(plan.weight_items for plan in plans)),
        ("parameter words", "parameter_words", sum(len(plan.parameters) for plan in plans)),
        ("layer descriptors", "max_layers", sum(len(plan.descriptors) for plan in plans)),
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
) -> list[LayerEntry]:
    """Layer table of the program."""
    entries = []
    first = 0
    for index, (plan, descriptors) in enumerate(zip(plans, linked, strict=True)):
        shape = network.tensor(plan.layer.output).shape
        own = plan.engine
        entries.append(
            LayerEntry(
                name=plan.layer.name,
                kind=plan.layer.kind,
                k=own.k if own else None,
                first=first,
                count=len(descriptors),
                output=Plane(bases[plan.layer.output], descriptors[0].out_pitch, shape),
                nnz=own.nnz if own else 0,
                kept=own.kept if own else 0,
                weight_items=plan.weight_items,
                activation_words=sum(b.words for b in buffers if b.first <= index <= b.last),
                ideal_cycles=own.ideal_cycles if own else 0,
                predicted_cycles=plan.predicted_cycles,
            )
        )
        first += len(descriptors)
    return entries


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
    settings, mapping, prepared = engine.prepare(network, config, options)
    # With memories that hold everything: how large they are changes no plan, and what is too much
    # for those of the configuration is said of the whole network.
    room = config.with_(**MEMORIES)
    plans = [_plan(network, layer, batch, room, engine, prepared) for layer in network.layers]
    buffers = lifetimes(network, batch, config.engine.lanes)
    peak, bases = assign(buffers)
    _check_capacity(network, plans, peak, config)
    linked = _link(network, plans, bases)
    entries = _entries(network, plans, linked, buffers, bases)

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
        if plan.engine is None or not isinstance(plan.layer, Conv):
            continue
        packed = engine.pack(plan.layer, plan.engine, config)
        for each, words in zip(layer, packed, strict=True):
            items[each.weight_base : each.weight_base + len(words)] = words
    if progress is not None:
        progress(len(plans), len(plans), plans[-1].layer.name)

    shape = network.tensor(network.input).shape
    return Program(
        config=config,
        network=network,
        batch=batch,
        input=Plane(bases[network.input], plans[0].descriptors[0].in_pitch, shape),
        layers=tuple(entries),
        settings=settings,
        mapped=mapping,
        descriptors=np.array(descriptors, np.uint32).reshape(-1, DESCRIPTOR_WORDS),
        parameters=np.concatenate([plan.parameters for plan in plans]),
        weights=items,
    )
