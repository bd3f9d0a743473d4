"""Outputs of networks, called as the file calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from steelyard.importer.naming import unused
from steelyard.network import Network, NetworkBuilder, Slice


@dataclass(frozen=True)
class Output:
    """An output of a network.

    Members
    -------
    name : as the file calls it
    tensor : that it is
    view : shape in which the file has it, without batch
    last : whether its elements are there in order of height, width and channels
    """

    name: str
    tensor: str
    view: tuple[int, ...]
    last: bool = False


def network_of(
    builder: NetworkBuilder,
    outputs: Sequence[Output],
    input_view: tuple[int, ...],
    *,
    input_last: bool = False,
) -> Network:
    """Network of all layers that outputs depend on; each is a tensor of its own and of its name.

    Parameters
    ----------
    builder : whose layers these are; gets a slice, which moves nothing, where outputs are one
        tensor or the input
    input_view : shape in which the file has the input, without batch
    input_last : whether its elements are there in order of height, width and channels
    """
    source = next(iter(builder.tensors))  # The input, with which a builder begins.
    tensors: list[str] = []
    names: list[str] = []
    for output in outputs:
        tensor = output.tensor
        if tensor in tensors or tensor == source:
            tensor = builder.append(
                Slice,
                tensor,
                name=unused(output.name, (layer.name for layer in builder.layers)),
                output=unused(output.name, builder.tensors),
                first=0,
                count=builder.tensors[tensor].shape[0],
            )
        tensors.append(tensor)
        names.append(unused(output.name, [source, *names]))
    network = builder.network(
        *tensors,
        input_view=input_view,
        output_views=tuple(output.view for output in outputs),
        input_last=input_last,
        outputs_last=tuple(output.last for output in outputs),
    )
    return _called(network, names)


def _called(network: Network, names: Sequence[str]) -> Network:
    """The same network with other names of its outputs.

    A tensor that has such a name and is not that output gets a number behind it.
    """
    called = dict(zip(network.outputs, names, strict=True))
    taken = {*network.tensors, *called.values()}
    for other in sorted(set(called.values()).intersection(network.tensors) - called.keys()):
        called[other] = unused(other, taken)
        taken.add(called[other])
    if all(old == new for old, new in called.items()):
        return network
    return replace(
        network,
        outputs=tuple(called.get(each, each) for each in network.outputs),
        tensors={
            called.get(key, key): replace(tensor, name=called.get(key, key))
            for key, tensor in network.tensors.items()
        },
        layers=tuple(
            replace(
                layer,
                inputs=tuple(called.get(each, each) for each in layer.inputs),
                output=called.get(layer.output, layer.output),
            )
            for layer in network.layers
        ),
    )
