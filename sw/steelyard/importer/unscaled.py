"""Layers whose output scale is not known yet: everything of them but the requantization."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.naming import unused
from steelyard.importer.wide import split, twice
from steelyard.network import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Layer,
    Lookup,
    MaxPool,
    Mul,
    NetworkBuilder,
    Padding,
    Run,
    Stride,
    Tensor,
    average_runs,
    join_averages,
)
from steelyard.network.scales import (
    add_fixed_point,
    fixed_point,
    real_to_code,
    sloped_fixed_point,
)

Move = tuple[type[Layer], dict[str, Any]]
"""Class of a layer that only moves codes, and its fields."""


class UnscaledLayer(Protocol):
    """Layer that waits for its output tensor."""

    @property
    def name(self) -> str:
        """Name of the layer."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the output tensor."""
        ...

    def renamed(self, name: str) -> UnscaledLayer:
        """The same under another name."""
        ...

    def finish(self, builder: NetworkBuilder, output: Tensor, lo: int, hi: int) -> None:
        """Append the layers that make a tensor of the output's name, scale and zero point.

        Raises
        ------
        UserError
            If the scales fit no multiplier.
        """
        ...


class _Renamed:
    """A layer's own name is the only thing that a copy may differ in."""

    def renamed(self, name: str) -> Self:
        """The same under another name."""
        return replace(self, name=name)  # type: ignore[type-var]


@dataclass(frozen=True)
class UnscaledConv(_Renamed):
    """Convolution or fully connected layer with weights, bias and the scale of its accumulator."""

    name: str
    shape: tuple[int, int, int]
    source: Tensor
    weight: NDArray[np.int8] | NDArray[np.int16]
    """int16 where eight bits do not hold them."""
    bias: NDArray[np.int32] | None
    """None while the layer has none."""
    scale: NDArray[np.float64]
    """float64 (out_channels,): real value of one accumulator step, ``s_x * s_w``."""
    stride: Stride = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    fully_connected: bool = False
    slopes: NDArray[np.float64] | None = None
    """float64 (out_channels,), from 0: factors of negative results; None where there are none."""

    def times(self, factor: float) -> UnscaledConv:
        """The same with another scale; a negative factor, where it has no slopes, turns weights."""
        if factor >= 0:
            return replace(self, scale=self.scale * factor)
        bias = None if self.bias is None else -self.bias
        return replace(self, scale=self.scale * -factor, weight=-self.weight, bias=bias)

    def finish(self, builder: NetworkBuilder, output: Tensor, lo: int, hi: int) -> None:
        """One Conv; where weights exceed eight bits, its input's channels are doubled before it."""
        label, ratio = f"Layer {self.name!r}", self.scale / output.scale
        multiplier, shift = fixed_point(ratio, label)
        negative = None
        if self.slopes is not None:
            multiplier, negative, shift = sloped_fixed_point(ratio, self.slopes, label)
        source, weight = self.source.name, self.weight
        if weight.dtype != np.int8:
            source, weight = twice(builder, self.source), split(weight)
        builder.append(
            Conv,
            source,
            name=self.name,
            **codes_of(output),
            lo=lo,
            hi=hi,
            weight=weight,
            bias=np.zeros(len(self.weight), np.int32) if self.bias is None else self.bias,
            multiplier=multiplier,
            shift=shift,
            negative_multiplier=negative,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
            fully_connected=self.fully_connected,
        )


@dataclass(frozen=True)
class UnscaledAvgPool(_Renamed):
    """Average pooling times a factor; a 1x1 window is the plain requantization of a tensor."""

    name: str
    shape: tuple[int, int, int]
    source: Tensor
    kernel: tuple[int, int] = (1, 1)
    stride: Stride = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    factor: float = 1.0
    counted: Padding | None = None
    """What of the padding the mean counts as zeros; None for all of it."""

    def runs(self) -> tuple[list[Run], list[Run]]:
        """Rows and columns of the output whose windows count equally many pixels.

        Raises
        ------
        UserError
            If a window holds no pixel of the map.
        """
        pads = self.padding
        counted = pads if self.counted is None else self.counted
        rows, columns = (
            average_runs(
                self.source.shape[1 + axis], self.kernel[axis], self.stride[axis],
                (pads[axis], pads[axis + 2]), (counted[axis], counted[axis + 2]),
            )
            for axis in (0, 1)
        )  # fmt: skip
        return rows, columns

    @property
    def is_pointwise(self) -> bool:
        """Whether an element of the result depends on one of the source alone."""
        return (*self.kernel, *self.stride, *self.padding) == (1, 1, 1, 1, 0, 0, 0, 0)

    def finish(self, builder: NetworkBuilder, output: Tensor, lo: int, hi: int) -> None:
        """One AvgPool, or one for each divisor, which are padded and added up."""
        window = self.kernel
        scaled = self.factor * self.source.scale / output.scale

        def pool(x: Tensor, y: Tensor, divisor: int, name: str, **fields: Any) -> None:
            multiplier, shift = fixed_point(scaled / divisor, f"Layer {self.name!r}")
            scaling: dict[str, Any] = {"multiplier": int(multiplier), "shift": int(shift)}
            clamp: dict[str, Any] = {"lo": lo, "hi": hi}
            builder.append(AvgPool, x.name, name=name, **codes_of(y), **clamp, **scaling, **fields)

        if self.counted in (None, self.padding):
            fields = {"kernel": window, "stride": self.stride, "padding": self.padding}
            pool(self.source, output, window[0] * window[1], self.name, **fields)
            return
        rows, columns = self.runs()

        def free(name: str) -> str:
            return unused(name, (each.name for each in builder.layers))

        def append(
            kind: type[Layer], inputs: tuple[Tensor, ...], y: Tensor, fields: dict[str, Any]
        ) -> None:
            name = free(self.name if y is output else y.name)
            builder.append(
                kind, *(each.name for each in inputs), name=name, **codes_of(y), **fields
            )

        def average(x: Tensor, y: Tensor, row: Run, column: Run) -> None:
            fields = {"kernel": (row.size, column.size), "stride": self.stride}
            name = self.name if y is output else free(y.name)
            pool(x, y, row.divisor * column.divisor, name, **fields)

        join_averages(append, self.source, output, rows, columns, average)


@dataclass(frozen=True)
class UnscaledMaxPool(_Renamed):
    """Max pooling; where the output's scale differs from the input's, a requantization follows."""

    name: str
    shape: tuple[int, int, int]
    source: Tensor
    kernel: tuple[int, int]
    stride: Stride
    padding: Padding

    def finish(self, builder: NetworkBuilder, output: Tensor, lo: int, hi: int) -> None:
        """MaxPool, and a 1x1 AvgPool where scale or zero point change."""
        x = self.source
        same = output.scale == x.scale and output.zero_point == x.zero_point
        pooled = output.name if same else f"{output.name}/pooled"
        builder.append(
            MaxPool,
            x.name,
            name=self.name,
            output=pooled,
            lo=lo if same else -128,
            hi=hi if same else 127,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
        )
        if not same:
            tensor = builder.tensors[pooled]
            rescaled = UnscaledAvgPool(f"{self.name}/requantize", self.shape, tensor)
            rescaled.finish(builder, output, lo, hi)


@dataclass(frozen=True)
class UnscaledAdd(_Renamed):
    """Residual add of two tensors of one shape, times a factor."""

    name: str
    shape: tuple[int, int, int]
    a: Tensor
    b: Tensor
    factor: float = 1.0

    def finish(self, builder: NetworkBuilder, output: Tensor, lo: int, hi: int) -> None:
        """One Add."""
        multiplier_a, multiplier_b, shift = add_fixed_point(
            self.factor * self.a.scale / output.scale,
            self.factor * self.b.scale / output.scale,
            f"Layer {self.name!r}",
        )
        builder.append(
            Add,
            self.a.name,
            self.b.name,
            name=self.name,
            **codes_of(output),
            lo=lo,
            hi=hi,
            multiplier_a=multiplier_a,
            multiplier_b=multiplier_b,
            shift=shift,
        )


@dataclass(frozen=True)
class UnscaledLookup(_Renamed):
    """Function of each value, computed in real numbers.

    Members
    -------
    ends : lowest and highest code of the source; others, which never come, get the result of these
    """

    name: str
    shape: tuple[int, int, int]
    source: Tensor
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ends: tuple[int, int] = (-128, 127)

    def finish(self, builder: NetworkBuilder, output: Tensor, lo: int, hi: int) -> None:
        """One Lookup; reals are float32 wherever a runtime has them so."""
        with np.errstate(all="ignore"):  # infinite results saturate
            y = self.function(reals_of(self.source, self.ends)).astype(np.float32) / np.float32(
                output.scale
            )
        table = np.clip(np.rint(y) + output.zero_point, lo, hi).astype(np.int8)
        builder.append(Lookup, self.source.name, name=self.name, **codes_of(output), table=table)


@dataclass(frozen=True)
class UnscaledMul(_Renamed):
    """Product of two tensors of one shape, times a factor."""

    name: str
    shape: tuple[int, int, int]
    a: Tensor
    b: Tensor
    factor: float = 1.0

    def finish(self, builder: NetworkBuilder, output: Tensor, lo: int, hi: int) -> None:
        """One Mul."""
        ratio = self.factor * self.a.scale * self.b.scale / output.scale
        multiplier, shift = fixed_point(ratio, f"Layer {self.name!r}")
        builder.append(
            Mul,
            self.a.name,
            self.b.name,
            name=self.name,
            **codes_of(output),
            lo=lo,
            hi=hi,
            multiplier=int(multiplier),
            shift=int(shift),
        )


@dataclass(frozen=True)
class Part:
    """What a concatenation joins: a tensor, or a layer that waits, clamped to [`low`, `high`]."""

    source: Tensor | UnscaledLayer
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class UnscaledConcat(_Renamed):
    """Concatenation of channels; parts with other codes than the output's are requantized."""

    name: str
    shape: tuple[int, int, int]
    parts: tuple[Part, ...]

    def finish(self, builder: NetworkBuilder, output: Tensor, lo: int, hi: int) -> None:
        """One Concat, behind the layers that its parts wait for."""
        joined: list[str] = []
        made: dict[tuple[object, ...], str] = {}
        for number, part in enumerate(self.parts):
            x = part.source
            if isinstance(x, Tensor):
                same = (x.scale, x.zero_point) == (output.scale, output.zero_point)
                if same and (lo, hi) == (-128, 127):
                    joined.append(x.name)
                    continue
            key = (x.name if isinstance(x, Tensor) else id(x), part.low, part.high)
            if key in made:
                joined.append(made[key])
                continue
            if isinstance(x, Tensor):
                layer: UnscaledLayer = UnscaledAvgPool(
                    f"{self.name}/requantize {number}", x.shape, x
                )
            else:
                layer = x.renamed(unused(x.name, (each.name for each in builder.layers)))
            name = unused(f"{output.name}/part {number}", builder.tensors)
            ends = (real_to_code(v, output.scale, output.zero_point) for v in (part.low, part.high))
            low, high = (min(max(end, lo), hi) for end in ends)
            layer.finish(builder, replace(output, name=name, shape=x.shape), low, high)
            made[key] = name
            joined.append(name)
        builder.append(Concat, *joined, name=self.name, **codes_of(output))


@dataclass(frozen=True)
class UnscaledMoved(_Renamed):
    """Layers that only move codes, behind one that waits."""

    name: str
    shape: tuple[int, int, int]
    layer: UnscaledLayer
    moves: tuple[Move, ...]

    @classmethod
    def behind(cls, name: str, layer: UnscaledLayer, moves: Iterable[Move]) -> UnscaledLayer:
        """The layer with moves behind it; itself if there are none.

        Raises
        ------
        UserError
            If a move cannot be.
        """
        shape = layer.shape
        added = tuple(moves)
        for kind, fields in added:
            shape = kind(name=name, inputs=("",), output="", **fields).output_shape(shape)
        if not added:
            return layer
        if isinstance(layer, UnscaledMoved):
            return cls(name, shape, layer.layer, (*layer.moves, *added))
        return cls(name, shape, layer, added)

    def finish(self, builder: NetworkBuilder, output: Tensor, lo: int, hi: int) -> None:
        """The layer that waits, and a layer for each move."""

        def free(name: str) -> str:
            return unused(name, (each.name for each in builder.layers))

        name = unused(f"{output.name}/moved", builder.tensors)
        first = replace(output, name=name, shape=self.layer.shape)
        self.layer.renamed(free(self.layer.name)).finish(builder, first, lo, hi)
        for number, (kind, fields) in enumerate(self.moves, start=1):
            target = f"{name}/{number}" if number < len(self.moves) else output.name
            name = builder.append(kind, name, name=free(self.name), output=target, **fields)


def reals_of(tensor: Tensor, ends: tuple[int, int] = (-128, 127)) -> NDArray[np.float64]:
    """Real values, as float32, of the codes -128 to 127 of a tensor, clamped; float64 (256,)."""
    steps = (np.clip(np.arange(-128, 128), *ends) - tensor.zero_point).astype(np.float32)
    return (steps * np.float32(tensor.scale)).astype(np.float64)


def codes_of(output: Tensor) -> dict[str, Any]:
    """Name, scale and zero point of an output, as :meth:`NetworkBuilder.append` takes them."""
    return {"output": output.name, "scale": output.scale, "zero_point": output.zero_point}
