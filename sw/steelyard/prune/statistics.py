"""Second moments of a layer's inputs and its wanted outputs, from calibration images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from steelyard.prune.groups import Map
from steelyard.prune.layers import Layer, LayerInfo

BATCH = 100
MAX_ROWS = 32768


@dataclass(frozen=True)
class Moments:
    """What a least-squares fit of a layer needs, in float64.

    Attributes
    ----------
    gram
        (d, d), mean product of centered inputs, in group order.
    cross
        (d, oc), mean product of centered inputs and centered wanted outputs.
    power
        (oc,), variance of the wanted outputs.
    input_mean
        (d,).
    output_mean
        (oc,).
    """

    gram: torch.Tensor
    cross: torch.Tensor
    power: torch.Tensor
    input_mean: torch.Tensor
    output_mean: torch.Tensor


class _Reached(Exception):
    """Ends a forward pass behind the layer that is looked at."""


class Positions:
    """Output positions to look at, the same at every call.

    Parameters
    ----------
    images
        Calibration images.
    max_rows
        Positions in all, at most; every image gives the same number, at least one.
    seed
        Of the choice.
    """

    def __init__(self, images: int, max_rows: int = MAX_ROWS, seed: int = 0) -> None:
        self._images = images
        self._per_image = max(1, max_rows // images)
        self._seed = seed
        self._chosen: dict[int, torch.Tensor] = {}

    def choose(self, size: int, start: int, count: int) -> torch.Tensor:
        """Flat positions (count, n) in maps of ``size`` of the images from ``start`` on."""
        if size not in self._chosen:
            generator = torch.Generator().manual_seed(self._seed + size)
            keys = torch.rand(self._images, size, generator=generator)
            self._chosen[size] = keys.argsort(1)[:, : self._per_image]
        return self._chosen[size][start : start + count]


def _pad(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    sides: list[int] = []
    for axis in (1, 0):
        if layer.padding == "same":
            total = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            sides += [total // 2, total - total // 2]
        else:
            each = 0 if isinstance(layer.padding, str) else int(layer.padding[axis])
            sides += [each, each]
    if layer.padding_mode == "zeros":
        return functional.pad(x, sides)
    return functional.pad(x, sides, mode=layer.padding_mode)


def input_rows(
    layer: Layer, source: Map | None, x: torch.Tensor, where: torch.Tensor, width: int
) -> torch.Tensor:
    """Inputs (rows, d) in group order that the layer multiplies at the output positions ``where``.

    ``width`` is that of the output map.
    """
    if isinstance(layer, nn.Linear):
        if source is None:
            return x
        return x.reshape(len(x), *source).permute(0, 2, 3, 1).reshape(len(x), -1)
    padded = _pad(layer, x).permute(0, 2, 3, 1).contiguous()
    ky = torch.arange(layer.kernel_size[0]) * layer.dilation[0]
    kx = torch.arange(layer.kernel_size[1]) * layer.dilation[1]
    y = (where // width * layer.stride[0])[:, :, None, None] + ky[:, None]
    column = (where % width * layer.stride[1])[:, :, None, None] + kx[None, :]
    image = torch.arange(len(x))[:, None, None, None]
    return padded[image, y, column].reshape(where.numel(), -1)


def output_rows(y: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Outputs (rows, oc) at the positions ``where`` of a map, or all rows of a matrix."""
    if y.dim() == 2:
        return y
    flat = y.flatten(2)
    index = where[:, None, :].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).permute(0, 2, 1).reshape(-1, flat.shape[1])


def fast_layout(x: torch.Tensor) -> torch.Tensor:
    """The same maps with channels last in memory, in which convolutions run faster."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def wanted_outputs(
    dense: nn.Module, infos: Sequence[LayerInfo], images: torch.Tensor, positions: Positions
) -> dict[str, torch.Tensor]:
    """Outputs (rows, oc) of every named layer of the dense network at the chosen positions."""
    parts: dict[str, list[torch.Tensor]] = {info.name: [] for info in infos}
    start = 0

    def watch(name: str) -> None:
        def keep(_: nn.Module, __: tuple[torch.Tensor, ...], y: torch.Tensor) -> None:
            size = y[0, 0].numel() if y.dim() == 4 else 1
            parts[name].append(output_rows(y, positions.choose(size, start, len(y))))

        handles.append(dense.get_submodule(name).register_forward_hook(keep))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for info in infos:
            watch(info.name)
        with torch.no_grad():
            for start in range(0, len(images), BATCH):
                dense(fast_layout(images[start : start + BATCH]))
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(rows) for name, rows in parts.items()}


def moments(
    model: nn.Module,
    info: LayerInfo,
    images: torch.Tensor,
    wanted: torch.Tensor,
    positions: Positions,
    *,
    centered: bool,
) -> Moments:
    """Moments of a layer's inputs in ``model`` against the wanted outputs of the same positions.

    Without ``centered`` the means are taken as 0, for a layer that has no offset to adapt.
    """
    layer = model.get_submodule(info.name)
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    length, channels = info.rows[1], info.rows[0]
    gram = torch.zeros(length, length, dtype=torch.float64)
    cross = torch.zeros(length, channels, dtype=torch.float64)
    total = torch.zeros(length, dtype=torch.float64)
    start = done = 0

    def collect(module: nn.Module, inputs: tuple[torch.Tensor, ...], y: torch.Tensor) -> None:
        nonlocal done
        size = y[0, 0].numel() if y.dim() == 4 else 1
        where = positions.choose(size, start, len(y))
        assert isinstance(module, nn.Conv2d | nn.Linear)
        x = input_rows(module, info.source, inputs[0], where, y.shape[-1])
        # Products in the network's own precision; only the sums over batches need more.
        gram.add_(x.T @ x)
        cross.add_(x.T @ wanted[done : done + len(x)])
        total.add_(x.sum(0, dtype=torch.float64))
        done += len(x)
        raise _Reached

    handle = layer.register_forward_hook(collect)
    try:
        with torch.no_grad():
            for start in range(0, len(images), BATCH):
                try:
                    model(fast_layout(images[start : start + BATCH]))
                except _Reached:
                    continue
    finally:
        handle.remove()
    wide = wanted.double()
    input_mean, output_mean = total / done, wide.mean(0)
    if not centered:
        input_mean, output_mean = torch.zeros_like(input_mean), torch.zeros_like(output_mean)
    return Moments(
        gram / done - torch.outer(input_mean, input_mean),
        cross / done - torch.outer(input_mean, output_mean),
        wide.square().mean(0) - output_mean.square(),
        input_mean,
        output_mean,
    )


def named(infos: Sequence[LayerInfo]) -> Mapping[str, LayerInfo]:
    """The layers by name."""
    return {info.name: info for info in infos}
