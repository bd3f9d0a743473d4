"""What a name of the ONNX graph stands for while the graph is walked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.naming import unused
from steelyard.importer.unscaled import UnscaledLayer, UnscaledMaxPool
from steelyard.network import NetworkBuilder, Padding, Shape, Stride, Tensor
from steelyard.network.scales import real_to_code

NO_PADDING: Padding = (0, 0, 0, 0)


@dataclass(frozen=True)
class Constant:
    """Constant that is not quantized."""

    array: np.ndarray


@dataclass(frozen=True)
class QuantizedConstant:
    """Constant as integer codes; scale and zero point are of one element or lie along `axis`.

    Real once a DequantizeLinear has passed; `real` tells.
    """

    codes: np.ndarray
    scale: NDArray[np.float32]
    zero_point: np.ndarray
    axis: int
    real: bool = False

    @property
    def values(self) -> NDArray[np.float64]:
        """Real values, (codes - zero_point) * scale."""
        zero, scale = (
            along(each, self.axis, self.codes.ndim) for each in (self.zero_point, self.scale)
        )
        return (self.codes.astype(np.float64) - zero) * scale.astype(np.float64)

    def along_channels(self) -> QuantizedConstant:
        """A vector, shaped to broadcast along the channels of a map."""
        return replace(self, codes=self.codes.reshape(-1, 1, 1), axis=0)


def along(parameter: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """Parameter of one element or along one axis, shaped to broadcast against `rank` axes."""
    if parameter.size == 1:
        return parameter.reshape(())
    return parameter.reshape([-1 if i == axis else 1 for i in range(rank)])


@dataclass(frozen=True)
class NetworkInput:
    """The network's float input, before its QuantizeLinear."""

    name: str
    view: tuple[int, ...]


@dataclass(frozen=True)
class Activation:
    """Real int8 tensor seen with the shape `view` (without batch) in the same element order.

    `padding` (top, left, bottom, right) of zeros from a Pad node waits for the layer that takes it;
    :meth:`Walk.unpadded` makes it a layer of its own.
    """

    tensor: Tensor
    view: tuple[int, ...]
    padding: Padding = NO_PADDING


@dataclass(frozen=True)
class Pending:
    """Real result of a layer that waits for its QuantizeLinear, clamped to [`low`, `high`]."""

    layer: UnscaledLayer
    view: tuple[int, ...]
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class LaterMaxPool:
    """Max pooling of a real result that is quantized only behind it.

    Rounding keeps the order of numbers, so that result is quantized first, with the pooled one's
    scale, and its codes are pooled.

    Members
    -------
    value : name of what is pooled
    source : what is pooled
    """

    name: str
    shape: Shape
    value: str
    source: Pending
    kernel: tuple[int, int]
    stride: Stride
    padding: Padding

    def renamed(self, name: str) -> LaterMaxPool:
        """The same under another name."""
        return replace(self, name=name)

    def on(self, tensor: Tensor) -> UnscaledMaxPool:
        """The layer that pools the codes."""
        return UnscaledMaxPool(
            self.name, self.shape, tensor, self.kernel, self.stride, self.padding
        )

    def finish(self, builder: NetworkBuilder, output: Tensor, lo: int, hi: int) -> None:
        """What is pooled as a tensor of its own, and the MaxPool."""
        name = unused(f"{output.name}/unpooled", builder.tensors)
        layer = self.source.layer
        layer = layer.renamed(unused(layer.name, (each.name for each in builder.layers)))
        ends = (
            real_to_code(end, output.scale, output.zero_point)
            for end in (self.source.low, self.source.high)
        )
        layer.finish(builder, replace(output, name=name, shape=layer.shape), *ends)
        self.on(builder.tensors[name]).finish(builder, output, lo, hi)


@dataclass(frozen=True)
class Codes:
    """Integer codes between a QuantizeLinear and its DequantizeLinear.

    Members
    -------
    source : what was quantized
    name : the real value's name
    scale, zero_point : of int8 codes; unsigned codes are shifted by 128
    unsigned : whether the file's codes are uint8
    view : shape without batch
    lo, hi : int8 codes that clamps on the codes leave
    """

    source: NetworkInput | Activation | Pending
    name: str
    scale: float
    zero_point: int
    unsigned: bool
    view: tuple[int, ...]
    lo: int = -128
    hi: int = 127


@dataclass(frozen=True)
class Turned:
    """Map that the graph sees with channels last, as a Transpose makes it.

    Members
    -------
    value : the map with channels first, in the shape of its tensor or layer
    view : shape without batch in which the graph sees it, elements in order of height, width and
        channels
    """

    value: NetworkInput | Activation | Pending | Codes
    view: tuple[int, ...]


def ends_of(codes: Codes, pending: Pending) -> tuple[int, int]:
    """Lowest and highest code of a result that waits, once it is quantized to such codes."""
    lo, hi = (
        min(max(real_to_code(end, codes.scale, codes.zero_point), codes.lo), codes.hi)
        for end in (pending.low, pending.high)
    )
    return lo, hi


Value = Constant | QuantizedConstant | NetworkInput | Activation | Pending | Codes | Turned
