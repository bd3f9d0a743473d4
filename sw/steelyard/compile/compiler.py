"""From an integer network to descriptors, parameters, packed weights and a memory plan."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..contract import DESCRIPTOR_WORDS, AcceleratorConfig, Descriptor
from ..network import Network
from ..program import LayerEntry, Plane, Program
from ..progress import Progress
from .memory import Buffer, plane_pitch
from .places import Places
from .plans import LayerPlan, planned

__all__ = ["compile"]


def _link(plans: Sequence[LayerPlan], planes: dict[str, Plane]) -> list[tuple[Descriptor, ...]]:
    """Descriptors of each layer with all addresses filled in."""
    linked = []
    weight_base = param_base = 0
    for plan in plans:
        sources = [planes[name] for name in plan.layer.inputs]
        output = planes[plan.layer.output]
        done = []
        for step in plan.steps:
            bases = [each.base + step.reads * each.pitch for each in sources]
            added = planes[plan.addend].base - output.base if plan.addend is not None else 0
            done.append(
                replace(
                    step.descriptor,
                    in_base=bases[0],
                    in2_base=bases[1] if len(bases) > 1 else 0,
                    out_base=output.base + step.writes * output.pitch,
                    weight_base=weight_base if step.descriptor.weight_count else 0,
                    param_base=param_base + step.item,
                    table_base=param_base + plan.table if step.descriptor.table else 0,
                    addend_offset=added,
                )
            )
            weight_base += step.descriptor.weight_count
        param_base += len(plan.parameters)
        linked.append(tuple(done))
    return linked


def _entries(
    plans: Sequence[LayerPlan],
    linked: list[tuple[Descriptor, ...]],
    buffers: Sequence[Buffer],
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
                stored=plan.stored,
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
    made = planned(network, config, batch, options)
    made.check_capacity()
    engine, network, plans, buffers = made.engine, made.network, made.plans, made.buffers
    planes = _planes(network, made.places, made.bases, batch, config.engine.lanes)
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
        settings=made.settings,
        mapped=made.mapping,
        descriptors=np.array(descriptors, np.uint32).reshape(-1, DESCRIPTOR_WORDS),
        parameters=np.concatenate([plan.parameters for plan in plans]),
        weights=items,
    )
