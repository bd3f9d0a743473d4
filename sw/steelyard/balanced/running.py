"""Values inside a graph, batch by batch, and the moments of a layer's inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.balanced.fit import Moments
from steelyard.errors import UserError
from steelyard.quantize import Session, batches

if TYPE_CHECKING:
    import onnx

    from steelyard.balanced.layers import GraphLayer

BATCH = 50
"""Images that are in memory at once, unless the file says how many."""
ROWS = 32768
"""Output positions that a layer's least squares look at, at most but one an image."""
WIDE = 1200
"""Positions from which on batches are multiplied in single precision, twice as fast."""


class Runner:
    """The part of a graph that some of its values need.

    Parameters
    ----------
    model : graph of one input whose constants are initializers
    names : values to give
    """

    def __init__(self, model: onnx.ModelProto, names: Sequence[str]) -> None:
        from onnx import helper

        self._input = model.graph.input[0].name
        # The network's input is at hand; onnxruntime takes no output that is an input.
        self._names = list(names)
        inner = [name for name in dict.fromkeys(names) if name != self._input]
        self._inner = inner
        part = type(model)()
        part.CopyFrom(model)
        needed, kept = set(inner), []
        for node in reversed(model.graph.node):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        del part.graph.node[:], part.graph.output[:], part.graph.value_info[:]
        del part.graph.initializer[:]
        part.graph.node.extend(reversed(kept))
        part.graph.initializer.extend(i for i in model.graph.initializer if i.name in needed)
        part.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inner)
        self._session = Session(part, inner) if inner else None

    def run(
        self, images: NDArray[np.float32], more: dict[str, NDArray[Any]] | None = None
    ) -> list[NDArray[Any]]:
        """The values for one batch, and for what else the graph takes."""
        found = {self._input: images}
        if self._session is not None:
            given = self._session.run({self._input: images, **(more or {})})
            found |= dict(zip(self._inner, given, strict=True))
        return [found[name] for name in self._names]

    def stream(
        self,
        images: NDArray[np.float32],
        size: int,
        more: dict[str, NDArray[Any]] | None = None,
    ) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """Number of a batch's first image and the values, one batch of ``size`` after the other."""
        for number, batch in enumerate(batches(images, size)):
            first = number * size
            real = min(size, len(images) - first)
            yield first, [each[:real] for each in self.run(batch, more)]


def batch_of(model: onnx.ModelProto, images: NDArray[np.float32]) -> int:
    """Images that a graph takes at once: what its file says, else ``BATCH`` if it takes them.

    Raises
    ------
    UserError
        If the graph runs neither on several images nor on one.
    """
    dims = model.graph.input[0].type.tensor_type.shape.dim
    if dims and dims[0].dim_value:
        return int(dims[0].dim_value)
    runner = Runner(model, [model.graph.output[0].name])
    size = min(BATCH, len(images))
    try:
        runner.run(images[: min(2, size)])
    except UserError:
        runner.run(images[:1])
        return 1
    return size


def moments(
    layer: GraphLayer,
    dense: onnx.ModelProto,
    sparse: onnx.ModelProto,
    images: NDArray[np.float32],
    batch: int,
    *,
    rows: int = ROWS,
    seed: int = 0,
    centered: bool = True,
    kept: NDArray[np.intp] | None = None,
) -> list[Moments]:
    """Moments of each of a layer's groups: its inputs in ``sparse``, its outputs in ``dense``.

    Nothing but sums is kept of a batch.

    Parameters
    ----------
    layer : as `sparse` has it
    rows : output positions to look at, in all
    seed : of their choice
    centered : whether the layer has an offset that adapts
    kept : output channels of `dense` that `sparse` has; all unless given

    Raises
    ------
    UserError
        If a value is NaN or infinite.
    """
    same = dense is sparse
    names = [layer.input, layer.output] if same else [layer.output]
    wanted = Runner(dense, names).stream(images, batch)
    given = wanted if same else Runner(sparse, [layer.input]).stream(images, batch)
    each = max(1, rows // len(images))
    sums = [_Sums(layer) for _ in range(layer.groups)]
    channels = layer.rows[0] // layer.groups
    while True:
        first, values = next(given, (0, []))
        if not values:
            break
        y = values[-1] if same else next(wanted)[1][0]
        y = y if kept is None else y[:, kept]
        where = _positions(y, each, (seed, first))
        inputs = input_rows(layer, values[0], y.shape, where)
        outputs = _output_rows(y, where)
        for number, own in enumerate(sums):
            own.add(
                inputs[:, number], outputs[:, number * channels : (number + 1) * channels], centered
            )
    return [own.result(layer.name, centered) for own in sums]


def _positions(y: NDArray[Any], each: int, seed: tuple[int, int]) -> NDArray[np.intp] | None:
    """Flat positions (images, n) of maps to look at; None for vectors."""
    if y.ndim == 2:
        return None
    size = y.shape[2] * y.shape[3]
    if each >= size:
        return np.broadcast_to(np.arange(size), (len(y), size))
    keys = np.random.default_rng(seed).random((len(y), size))
    return np.argpartition(keys, each - 1, axis=1)[:, :each]


def input_rows(
    layer: GraphLayer, x: NDArray[Any], made: tuple[int, ...], where: NDArray[np.intp] | None
) -> NDArray[np.float32]:
    """Inputs (rows, groups, positions) in the order of a layer's weights.

    Parameters
    ----------
    x : what the layer reads, (images, channels, height, width) or (images, features)
    made : shape of what it makes
    where : output positions (images, n); None for vectors
    """
    if layer.window is None or where is None:
        if layer.source is not None:
            x = x.reshape(len(x), *layer.source).transpose(0, 2, 3, 1)
        return x.reshape(len(x), 1, -1)
    window = layer.window
    top, left, bottom, right = window.pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))).transpose(0, 2, 3, 1)
    ky = np.arange(window.kernel[0]) * window.dilations[0]
    kx = np.arange(window.kernel[1]) * window.dilations[1]
    y = (where // made[3] * window.strides[0])[:, :, None, None] + ky[:, None]
    column = (where % made[3] * window.strides[1])[:, :, None, None] + kx
    image = np.arange(len(x))[:, None, None, None]
    found = padded[image, y, column].reshape(
        where.size, window.kernel[0] * window.kernel[1], layer.groups, layer.own
    )
    return found.transpose(0, 2, 1, 3).reshape(where.size, layer.groups, -1)


def _output_rows(y: NDArray[Any], where: NDArray[np.intp] | None) -> NDArray[np.float32]:
    if where is None:
        return y
    flat = y.reshape(*y.shape[:2], -1)
    taken = np.take_along_axis(flat, where[:, None, :], axis=2)
    return taken.transpose(0, 2, 1).reshape(-1, y.shape[1])


class _Sums:
    """Sums of products of one group's inputs and outputs about points among them."""

    def __init__(self, layer: GraphLayer) -> None:
        length, channels = layer.rows[1], layer.rows[0] // layer.groups
        self._type: type[Any] = np.float32 if length > WIDE else np.float64
        self._gram = np.zeros((length, length))
        self._cross = np.zeros((length, channels))
        self._power = np.zeros(channels)
        self._x = np.zeros(length)
        self._y = np.zeros(channels)
        self._about: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._count = 0

    def add(self, inputs: NDArray[Any], outputs: NDArray[Any], centered: bool) -> None:
        """Take rows of inputs (n, positions) and outputs (n, channels)."""
        if self._about is None:
            # Sums about a point among the values cancel nothing, however far off 0 they lie.
            self._about = (
                (inputs.mean(0, dtype=np.float64), outputs.mean(0, dtype=np.float64))
                if centered
                else (np.zeros_like(self._x), np.zeros_like(self._y))
            )
        x: NDArray[Any] = (inputs - self._about[0]).astype(self._type)
        y = outputs - self._about[1]
        self._gram += x.T @ x
        self._cross += x.T @ y.astype(self._type)
        self._power += np.square(y).sum(0)
        self._x += x.sum(0, dtype=np.float64)
        self._y += y.sum(0)
        self._count += len(x)

    def result(self, name: str, centered: bool) -> Moments:
        """Means of the products, about the means where ``centered``."""
        assert self._about is not None
        x, y = self._x / self._count, self._y / self._count
        if not centered:
            x, y = np.zeros_like(x), np.zeros_like(y)
        found = Moments(
            self._gram / self._count - np.outer(x, x),
            self._cross / self._count - np.outer(x, y),
            np.maximum(self._power / self._count - y**2, 0.0),
            self._about[0] + x,
            self._about[1] + y,
        )
        if not all(np.all(np.isfinite(part)) for part in (found.gram, found.cross, found.power)):
            raise UserError(
                f"Layer {name!r} meets NaN, infinite or far too large values on the calibration "
                "images; check the weights before it and the scale of the images."
            )
        return found
