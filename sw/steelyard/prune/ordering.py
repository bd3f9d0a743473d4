"""Order of channels: by activity, or so that those of an operation unit need much the same rows.

An operation unit whose inputs are all zero in a step skips it. Rows that stay after fine pruning
come from many channels; with channels ordered by how often they are not zero, rows of an
operation unit are neighbours in that order, and those of idle channels skip together. Rows that
channels of an operation unit share (`ou_row`) fit better where these channels are alike.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from steelyard.prune.constraints import USUAL, CrossbarShape
from steelyard.prune.dependency import paths
from steelyard.prune.layers import as_input
from steelyard.prune.mixed import join
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
    ordered, moved = _copied(model)
    modules = dict(ordered.named_modules())
    inputs = {path.readers[0]: len(modules[writer].weight) for writer, path in moved.items()}
    live = _input_sums(ordered, as_input(images), inputs, lambda x: x != 0)
    for path in moved.values():
        (reader,) = path.readers
        path.order = live[reader].argsort(descending=True, stable=True)
    _move(modules, moved)
    return ordered


def pair_channels(
    model: nn.Module, images: torch.Tensor | np.ndarray, crossbar: CrossbarShape = USUAL
) -> nn.Module:
    """A copy of ``model`` that computes the same, its inner channels in the order of likeness.

    Channels that stand in an operation unit are those whose weights, each times the size of its
    input, agree most in amplitude: rows that go for all of them are lost by none. This is what
    makes OU-row compression cheaper by reordering (after Shin et al., DAC 2022). Arguments and
    errors are those of :func:`order_channels`.
    """
    ordered, moved = _copied(model)
    modules = dict(ordered.named_modules())
    inputs = {writer: modules[writer].weight.shape[1] for writer in moved}
    power = _input_sums(ordered, as_input(images), inputs, lambda x: x.double().square())
    for writer, path in moved.items():
        weight = modules[writer].weight.detach().double()
        by_input = power[writer].reshape(1, -1, *[1] * (weight.dim() - 2))
        energy = (weight.square() * by_input).flatten(1)
        strips = join(energy, torch.arange(len(energy)), crossbar.ou_channels)
        path.order = torch.cat(strips)
    _move(modules, moved)
    return ordered


@dataclass
class _Moved:
    """A layer whose output channels can move, and the order that they get."""

    readers: list[str]
    between: list[str]
    order: torch.Tensor


def _copied(model: nn.Module) -> tuple[nn.Module, dict[str, _Moved]]:
    """A copy in evaluation mode, and the layers that write channels which one other reads."""
    ordered = copy.deepcopy(model)
    ordered.eval()
    modules = dict(ordered.named_modules())
    return ordered, {
        writer: _Moved(path.readers, path.between, torch.arange(len(modules[writer].weight)))
        for writer, path in paths(ordered).items()
        if len(path.readers) == 1 and getattr(modules[writer], "groups", 1) == 1
    }


def _move(modules: Mapping[str, nn.Module], moved: Mapping[str, _Moved]) -> None:
    for writer, path in moved.items():
        for name in (writer, *path.between):
            _permute(modules[name], path.order)
        (reader,) = path.readers
        weight: torch.Tensor = modules[reader].weight  # type: ignore[assignment]
        places = weight.data.reshape(len(weight), len(path.order), -1)[:, path.order]
        weight.data = places.reshape(weight.shape).contiguous()


def _input_sums(
    model: nn.Module,
    images: torch.Tensor,
    channels: Mapping[str, int],
    measure: Callable[[torch.Tensor], torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Sum of what ``measure`` says of the inputs, by input channel (channels,), of the layers
    with so many."""
    sums: dict[str, torch.Tensor] = {}

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def add(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            # A flattened map has all places of a channel side by side.
            places = inputs[0].reshape(len(inputs[0]), channels[name], -1)
            sums[name] = sums.get(name, 0) + measure(places).sum((0, 2))

        return model.get_submodule(name).register_forward_pre_hook(add)

    handles = [watch(name) for name in channels]
    try:
        with torch.no_grad():
            for first, batch in batches(images):
                forwarded(model, batch, first)
    finally:
        for handle in handles:
            handle.remove()
    return sums


def _permute(module: nn.Module, order: torch.Tensor) -> None:
    """Brings what a module holds by output channel into the order."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        values = getattr(module, name, None)
        if values is not None:
            values.data = values.data[order].contiguous()
