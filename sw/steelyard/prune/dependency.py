"""What other layers' weights say about a filter: CPMC's weight dependency.

Yan et al., Channel Pruning via Multi-Criteria based on Weight Dependency (arXiv 2011.03240): a
filter is worth what its own weights and those that read its output are worth together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import fx, nn

from steelyard.prune.layers import LayerInfo, Structure
from steelyard.prune.repair import prunable_layer

_PASSING = (
    nn.BatchNorm2d,
    nn.BatchNorm1d,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Flatten,
    nn.Identity,
)
"""Modules that keep channels apart and in order."""


def readers(model: nn.Module) -> dict[str, list[str]]:
    """For every convolution or Linear layer, those that read its output channel by channel.

    Empty where something else reads it too, as a residual addition does, where a layer is called
    twice, and for models that torch.fx cannot trace: their filters are judged by their own
    weights alone.
    """
    return {name: path.readers for name, path in paths(model).items()}


@dataclass(frozen=True)
class Path:
    """Where the output of a layer goes, by the names of modules.

    Attributes
    ----------
    readers
        Layers that read it channel by channel; see :func:`readers`.
    between
        Modules between it and them.
    """

    readers: list[str]
    between: list[str]


def paths(model: nn.Module) -> dict[str, Path]:
    """The way from every convolution or Linear layer to its :func:`readers`, by its name."""
    try:
        graph = fx.Tracer().trace(model)
    except (TypeError, ValueError, RuntimeError, NotImplementedError, fx.proxy.TraceError):
        return {}
    modules = dict(model.named_modules())
    found: dict[str, Path] = {}
    for node in graph.nodes:
        if node.op == "call_module" and isinstance(modules[node.target], nn.Conv2d | nn.Linear):
            again = node.target in found
            found[node.target] = Path([], []) if again else _walk(node, modules)
    return found


def _walk(node: fx.Node, modules: Mapping[str, nn.Module]) -> Path:
    names: list[str] = []
    between: list[str] = []
    front = list(node.users)
    while front:
        user = front.pop()
        module = modules.get(str(user.target)) if user.op == "call_module" else None
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            names.append(str(user.target))
        elif isinstance(module, _PASSING):
            between.append(str(user.target))
            front += list(user.users)
        else:
            return Path([], [])
    return Path(sorted(names), between)


def weight_dependency(model: nn.Module, structure: Structure) -> dict[str, torch.Tensor]:
    """Factor (oc,) on the energy of every filter, 1 on average, by layer.

    Half is constant, half follows the mean square of the weights that read the filter's channel.
    A factor near 0.5 says that the next layer hardly looks at it.
    """
    read_by = readers(model)
    factors = {}
    for info in structure.prunable:
        total = torch.zeros(info.rows[0], dtype=torch.float64)
        for name in read_by.get(info.name, []):
            weight = prunable_layer(model, name).weight.detach().double()
            total += _by_channel(weight, info)
        mean = total.mean()
        flat = torch.ones_like(total)
        factors[info.name] = 0.5 * flat + 0.5 * (total / mean if float(mean) > 0 else flat)
    return factors


def _by_channel(weight: torch.Tensor, info: LayerInfo) -> torch.Tensor:
    """Energy of the weights that read each of the channels of ``info``, (oc,)."""
    squares = weight.square().sum(0)
    # A flattened map has all places of a channel side by side.
    return squares.reshape(info.rows[0], -1).sum(1)
