"""Order of channels by activity, so that inputs that are often zero are so together.

An operation unit whose inputs are all zero in a step skips it. Rows that stay after fine pruning
come from many channels; with channels ordered by how often they are not zero, rows of an
operation unit are neighbours in that order, and those of idle channels skip together.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from steelyard.prune.dependency import between, readers
from steelyard.prune.layers import as_input
from steelyard.prune.statistics import fast_layout


def order_channels(model: nn.Module, images: torch.Tensor | np.ndarray) -> nn.Module:
    """A copy of ``model`` that computes the same, its inner channels by falling activity.

    Only channels that one layer writes and one other reads are moved; those of a residual
    addition stay where they are.

    Parameters
    ----------
    model
        Trained network; it is left as it is.
    images
        Network inputs on which activity is measured, batch first.

    Raises
    ------
    UserError
        If there is no image, or a value is NaN or infinite.
    """
    x = as_input(images)
    ordered = copy.deepcopy(model).eval()
    modules = dict(ordered.named_modules())
    pairs = {
        writer: names[0]
        for writer, names in readers(ordered).items()
        if len(names) == 1 and getattr(modules[writer], "groups", 1) == 1
    }
    live: dict[str, torch.Tensor] = {}

    def watch(reader: str, channels: int) -> torch.utils.hooks.RemovableHandle:
        def count(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            # A flattened map has all places of a channel side by side.
            places = inputs[0].reshape(len(inputs[0]), channels, -1)
            live[reader] = (places != 0).double().mean((0, 2))

        return modules[reader].register_forward_pre_hook(count)

    hooks = [watch(reader, len(modules[writer].weight)) for writer, reader in pairs.items()]
    with torch.no_grad():
        ordered(fast_layout(x))
    for hook in hooks:
        hook.remove()
    passing = between(ordered)
    for writer, reader in pairs.items():
        order = live[reader].argsort(descending=True, stable=True)
        for name in (writer, *passing[writer]):
            _permute(modules[name], order)
        weight = modules[reader].weight
        places = weight.data.reshape(len(weight), len(order), -1)[:, order]
        weight.data = places.reshape(weight.shape).contiguous()
    return ordered


def _permute(module: nn.Module, order: torch.Tensor) -> None:
    """Brings what a module holds by output channel into the order."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        values = getattr(module, name, None)
        if values is not None:
            values.data = values.data[order].contiguous()
