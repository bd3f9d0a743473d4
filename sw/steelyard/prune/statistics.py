"""Second moments of a layer's inputs and its wanted outputs, from calibration images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from steelyard.errors import UserError
from steelyard.prune.calls import Call, Calls, Layer
from steelyard.prune.groups import Map
from steelyard.prune.layers import LayerInfo
from steelyard.prune.trial import forwarded

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


class _Reached(BaseException):
    """Ends a forward pass behind the layer that is looked at.

    No Exception, since networks may catch those.
    """


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


def input_rows(call: Call, source: Map | None, where: torch.Tensor) -> torch.Tensor:
    """Inputs (rows, d) in group order that a call multiplies at the output positions ``where``."""
    x = call.input
    if isinstance(call.layer, nn.Linear):
        if source is None:
            return x
        return x.reshape(len(x), *source).permute(0, 2, 3, 1).reshape(len(x), -1)
    padded = functional.pad(x, call.padding).permute(0, 2, 3, 1).contiguous()
    width = call.output.shape[-1]
    ky = torch.arange(call.layer.kernel_size[0]) * call.dilation[0]
    kx = torch.arange(call.layer.kernel_size[1]) * call.dilation[1]
    y = (where // width * call.stride[0])[:, :, None, None] + ky[:, None]
    column = (where % width * call.stride[1])[:, :, None, None] + kx[None, :]
    image = torch.arange(len(x))[:, None, None, None]
    return padded[image, y, column].reshape(where.numel(), -1)


def output_rows(y: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Outputs (rows, oc) at the positions ``where`` of a map, or all rows of a matrix."""
    if y.dim() == 2:
        return y
    flat = y.flatten(2)
    index = where[:, None, :].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).permute(0, 2, 1).reshape(-1, flat.shape[1])


def batches(images: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Number of the first image, and the images, of one batch after the other.

    Batches are copies: a network may write into its input.
    """
    for start in range(0, len(images), BATCH):
        yield start, images[start : start + BATCH].clone()


def wanted_outputs(
    dense: nn.Module, infos: Sequence[LayerInfo], images: torch.Tensor, positions: Positions
) -> dict[str, torch.Tensor]:
    """Outputs (rows, oc) of every named layer of the dense network at the chosen positions."""
    parts: dict[str, list[torch.Tensor]] = {info.name: [] for info in infos}
    layers = {_layer(dense, info.name): info.name for info in infos}
    start = 0

    def keep(call: Call) -> None:
        where = positions.choose(_places(call.output), start, len(call.output))
        parts[layers[call.layer]].append(output_rows(call.output, where))

    with torch.no_grad(), Calls(layers, keep):
        for first, batch in batches(images):
            start = first
            forwarded(dense, batch, first)
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

    Raises
    ------
    UserError
        If an input or output is NaN or infinite, or the layer runs as often as the image says.
    """
    layer = _layer(model, info.name)
    length, channels = info.rows[1], info.rows[0]
    gram = torch.zeros(length, length, dtype=torch.float64)
    cross = torch.zeros(length, channels, dtype=torch.float64)
    total = torch.zeros(length, dtype=torch.float64)
    wide = wanted.double()
    output_mean = wide.mean(0) if centered else torch.zeros(channels, dtype=torch.float64)
    wide = wide - output_mean
    shift: torch.Tensor | None = None
    start = done = calls = 0

    def collect(call: Call) -> None:
        nonlocal done, calls, shift
        if calls == info.calls:
            raise _Reached
        where = positions.choose(_places(call.output), start, len(call.output))
        x = input_rows(call, info.source, where).double()
        if shift is None:
            # Sums about a point among the inputs cancel nothing, however far off 0 they lie.
            shift = x.mean(0) if centered else torch.zeros_like(total)
        x = x - shift
        gram.add_(x.T @ x)
        cross.add_(x.T @ wide[done : done + len(x)])
        total.add_(x.sum(0))
        done += len(x)
        calls += 1
        if calls == info.calls:
            raise _Reached

    with torch.no_grad(), Calls([layer], collect):
        for first, batch in batches(images):
            start, calls = first, 0
            with suppress(_Reached):
                forwarded(model, batch, first)
    if shift is None or done != len(wanted):
        raise UserError(
            f"Layer {info.name!r} runs more often for some images than for others; leave it dense "
            f"with --exclude {info.name}."
        )
    beside = total / done if centered else torch.zeros_like(total)
    found = Moments(
        gram / done - torch.outer(beside, beside),
        cross / done - torch.outer(beside, wide.mean(0)),
        wide.square().mean(0),
        shift + beside,
        output_mean,
    )
    if not all(bool(torch.isfinite(part).all()) for part in (found.gram, found.cross, found.power)):
        raise UserError(
            f"Layer {info.name!r} meets NaN, infinite or far too large values on the calibration "
            "images; check the weights before it and the scale of the images."
        )
    return found


def _layer(model: nn.Module, name: str) -> Layer:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    return layer


def _places(y: torch.Tensor) -> int:
    """Positions of a map, 1 for a vector."""
    return y[0, 0].numel() if y.dim() == 4 else 1
