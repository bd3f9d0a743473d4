"""Layers whose output scale is not known yet: everything of them but the requantization."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from steelyard.network import Add, AvgPool, Conv, Layer, MaxPool, Tensor
from steelyard.network.scales import add_fixed_point, fixed_point

Padding = tuple[int, int, int, int]


class Draft(Protocol):
    """Layer that waits for its output tensor."""

    @property
    def name(self) -> str:
        """Name of the layer."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the output tensor."""
        ...

    def renamed(self, name: str) -> Draft:
        """The same under another name."""
        ...

    def finish(self, output: Tensor, lo: int, hi: int) -> tuple[list[Tensor], list[Layer]]:
        """New tensors (the output last) and the layers that make them."""
        ...


class _Renamed:
    """A draft's own name is the only thing that a copy may differ in."""

    def renamed(self, name: str) -> Self:
        """The same under another name."""
        return replace(self, name=name)  # type: ignore[type-var]


@dataclass(frozen=True)
class ConvDraft(_Renamed):
    """Convolution or fully connected layer with weights, bias and the scale of its accumulator."""

    name: str
    shape: tuple[int, int, int]
    source: Tensor
    weight: NDArray[np.int8]
    bias: NDArray[np.int32] | None
    """None while the layer has none."""
    scale: NDArray[np.float64]
    """float64 (out_channels,): real value of one accumulator step, ``s_x * s_w``."""
    stride: int = 1
    padding: Padding = (0, 0, 0, 0)
    fully_connected: bool = False

    def finish(self, output: Tensor, lo: int, hi: int) -> tuple[list[Tensor], list[Layer]]:
        """One Conv."""
        multiplier, shift = fixed_point(self.scale / output.scale, f"Layer {self.name!r}")
        layer = Conv(
            name=self.name,
            inputs=(self.source.name,),
            output=output.name,
            lo=lo,
            hi=hi,
            weight=self.weight,
            bias=np.zeros(len(self.weight), np.int32) if self.bias is None else self.bias,
            multiplier=multiplier,
            shift=shift,
            stride=self.stride,
            padding=self.padding,
            fully_connected=self.fully_connected,
        )
        return [output], [layer]


@dataclass(frozen=True)
class AvgPoolDraft(_Renamed):
    """Average pooling times a factor; a 1x1 window is the plain requantization of a tensor."""

    name: str
    shape: tuple[int, int, int]
    source: Tensor
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: Padding = (0, 0, 0, 0)
    factor: float = 1.0

    def finish(self, output: Tensor, lo: int, hi: int) -> tuple[list[Tensor], list[Layer]]:
        """One AvgPool."""
        window = self.kernel[0] * self.kernel[1]
        ratio = self.factor * self.source.scale / (output.scale * window)
        multiplier, shift = fixed_point(ratio, f"Layer {self.name!r}")
        layer = AvgPool(
            name=self.name,
            inputs=(self.source.name,),
            output=output.name,
            lo=lo,
            hi=hi,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            multiplier=int(multiplier),
            shift=int(shift),
        )
        return [output], [layer]


@dataclass(frozen=True)
class MaxPoolDraft(_Renamed):
    """Max pooling; where the output's scale differs from the input's, a requantization follows."""

    name: str
    shape: tuple[int, int, int]
    source: Tensor
    kernel: tuple[int, int]
    stride: int
    padding: Padding

    def finish(self, output: Tensor, lo: int, hi: int) -> tuple[list[Tensor], list[Layer]]:
        """MaxPool, and a 1x1 AvgPool where scale or zero point change."""
        same = output.scale == self.source.scale and output.zero_point == self.source.zero_point
        pooled = output
        tensors: list[Tensor] = []
        following: list[Layer] = []
        if not same:
            pooled = replace(self.source, name=f"{output.name}/pooled", shape=self.shape)
            rescale = AvgPoolDraft(f"{self.name}/requantize", self.shape, pooled)
            tensors, following = rescale.finish(output, lo, hi)
            tensors = [pooled, *tensors]
        layer = MaxPool(
            name=self.name,
            inputs=(self.source.name,),
            output=pooled.name,
            lo=lo if same else -128,
            hi=hi if same else 127,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
        )
        return tensors or [output], [layer, *following]


@dataclass(frozen=True)
class AddDraft(_Renamed):
    """Residual add of two tensors of one shape."""

    name: str
    shape: tuple[int, int, int]
    a: Tensor
    b: Tensor

    def finish(self, output: Tensor, lo: int, hi: int) -> tuple[list[Tensor], list[Layer]]:
        """One Add."""
        multiplier_a, multiplier_b, shift = add_fixed_point(
            self.a.scale / output.scale, self.b.scale / output.scale, f"Layer {self.name!r}"
        )
        layer = Add(
            name=self.name,
            inputs=(self.a.name, self.b.name),
            output=output.name,
            lo=lo,
            hi=hi,
            multiplier_a=multiplier_a,
            multiplier_b=multiplier_b,
            shift=shift,
        )
        return [output], [layer]
