"""Order of channels by activity, so that inputs that are often zero are so together.

An operation unit whose inputs are all zero in a step skips it. Rows that stay after fine pruning
come from many channels; with channels ordered by how often they are not zero, rows of an
operation unit are neighbours in that order, and those of idle channels skip together.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from steelyard.prune.dependency import paths
from steelyard.prune.layers import as_input
from steelyard.prune.statistics import batches
from steelyard.prune.trial import forwarded


def order_channels(model: nn.Module, images: torch.Tensor | np.ndarray) -> nn.Module:
    """A copy of ``model`` that computes the same, its inner channels by falling activity.

    Only channels that one layer writes and one other reads are moved; those of a residual
    addition stay where they are, and all of a model that torch.fx cannot trace.

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
    ordered = copy.deepcopy(model)
    ordered.eval()
    modules = dict(ordered.named_modules())
    moved = {
        writer: path
        for writer, path in paths(ordered).items()
        if len(path.readers) == 1 and getattr(modules[writer], "groups", 1) == 1
    }
    live = _activity(ordered, x, {p.readers[0]: len(modules[w].weight) for w, p in moved.items()})
    for writer, path in moved.items():
        (reader,) = path.readers
        order = live[reader].argsort(descending=True, stable=True)
        for name in (writer, *path.between):
            _permute(modules[name], order)
        weight = modules[reader].weight
        places = weight.data.reshape(len(weight), len(order), -1)[:, order]
        weight.data = places.reshape(weight.shape).contiguous()
    return ordered


def _activity(
    model: nn.Module, images: torch.Tensor, channels: Mapping[str, int]
) -> dict[str, torch.Tensor]:
    """How many inputs are not 0, by input channel (channels,), of the layers with so many."""
    live = {name: torch.zeros(count, dtype=torch.long) for name, count in channels.items()}

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def count(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            # A flattened map has all places of a channel side by side.
            places = inputs[0].reshape(len(inputs[0]), channels[name], -1)
            live[name] += (places != 0).sum((0, 2))

        return model.get_submodule(name).register_forward_pre_hook(count)

    handles = [watch(name) for name in channels]
    try:
        with torch.no_grad():
            for first, batch in batches(images):
                forwarded(model, batch, first)
    finally:
        for handle in handles:
            handle.remove()
    return live


def _permute(module: nn.Module, order: torch.Tensor) -> None:
    """Brings what a module holds by output channel into the order."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        values = getattr(module, name, None)
        if values is not None:
            values.data = values.data[order].contiguous()
