"""Integer layer graph: the one description of a network behind golden model, compiler and files.

Tensors are int8 planes ``(channels, height, width)``; a flatten is a view, so a fully connected layer
takes any plane and its weight has the shape of a convolution over the whole plane.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .errors import UserError

__all__ = ["Add", "AvgPool", "Conv", "Layer", "MaxPool", "Network", "Tensor"]


@dataclass(frozen=True)
class Tensor:
    """Quantized activation tensor.

    Members
    -------
    name : str
    shape : (channels, height, width)
    scale : real value of one step
    zero_point : int8 code of real zero, -128 to 127
    """

    name: str
    shape: tuple[int, int, int]
    scale: float
    zero_point: int

    @property
    def size(self) -> int:
        """Elements of one image."""
        channels, height, width = self.shape
        return channels * height * width

    def quantize(self, values: NDArray[np.floating]) -> NDArray[np.int8]:
        """Real values as int8 codes: ``clip(round_half_even(x / scale) + zero_point)``."""
        steps = np.rint(values.astype(np.float32) / np.float32(self.scale))
        return np.clip(steps + self.zero_point, -128, 127).astype(np.int8)

    def dequantize(self, codes: NDArray[np.int8]) -> NDArray[np.float32]:
        """Int8 codes as real values."""
        return (codes.astype(np.float32) - self.zero_point) * np.float32(self.scale)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """What all layers share: names of their tensors and the output clamp."""

    _kind: ClassVar[str] = ""
    name: str
    inputs: tuple[str, ...]
    output: str
    lo: int = -128
    """Lower clamp of the int8 output (the zero point for a fused ReLU)."""
    hi: int = 127
    """Upper clamp of the int8 output."""

    @property
    def kind(self) -> str:
        """``conv``, ``fc``, ``max_pool``, ``avg_pool`` or ``add``."""
        return self._kind


# Arrays have no single truth value, so convolutions and networks compare by identity.
@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Layer):
    """Convolution or fully connected layer.

    ``y = clamp(z_y + round_half_even((bias + sum(w * (x - z_x))) * multiplier / 2**shift), lo, hi)``
    """

    weight: NDArray[np.int8]
    """int8 (out_channels, in_channels, kernel_h, kernel_w), zero point 0, pruned weights exactly 0."""
    bias: NDArray[np.int32]
    """int32 (out_channels,) at scale s_x * s_w, without zero-point correction."""
    multiplier: NDArray[np.int32]
    """int32 (out_channels,), 0 to 2**24 - 1."""
    shift: NDArray[np.int32]
    """int32 (out_channels,), 1 to 63."""
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Top, left, bottom, right, filled with the input's zero point."""
    fully_connected: bool = False
    k: int | None = None
    """Weights kept in every group of the pruning that made this layer; None when dense."""

    @property
    def kind(self) -> str:
        """``conv`` or ``fc``."""
        return "fc" if self.fully_connected else "conv"


@dataclass(frozen=True, kw_only=True)
class MaxPool(Layer):
    """Maximum over a window; padding never wins. Scale and zero point pass unchanged."""

    _kind: ClassVar[str] = "max_pool"
    kernel: tuple[int, int]
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class AvgPool(Layer):
    """Exact sum over a window (padding counts as real zero), requantized once with 1/n in `multiplier`."""

    _kind: ClassVar[str] = "avg_pool"
    kernel: tuple[int, int]
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    multiplier: int
    shift: int


@dataclass(frozen=True, kw_only=True)
class Add(Layer):
    """Residual add: both products are summed exactly at one shift and rounded once."""

    _kind: ClassVar[str] = "add"
    multiplier_a: int
    multiplier_b: int
    shift: int


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in execution order with all their tensors.

    Raises
    ------
    UserError
        If a layer's shapes, parameters or tensor names do not fit together; names the layer.
    """

    name: str
    input: str
    output: str
    tensors: dict[str, Tensor]
    layers: tuple[Layer, ...] = field(default=())

    def __post_init__(self) -> None:
        from ._check import check_network

        check_network(self)

    def tensor(self, name: str) -> Tensor:
        """Tensor of a name."""
        return self.tensors[name]

    def macs(self, layer: Layer) -> int:
        """Multiplications of one image in a layer, counting pruned weights too."""
        if not isinstance(layer, Conv):
            return 0
        _, height, width = self.tensors[layer.output].shape
        return int(layer.weight.size) * height * width


def output_size(
    size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: tuple[int, int, int, int]
) -> tuple[int, int]:
    """Height and width of a windowed layer's output.

    Raises
    ------
    UserError
        If the kernel is larger than the padded map.
    """
    top, left, bottom, right = padding
    height = size[0] + top + bottom - kernel[0]
    width = size[1] + left + right - kernel[1]
    if height < 0 or width < 0:
        raise UserError(
            f"A kernel of {kernel[0]}x{kernel[1]} does not fit a padded map of "
            f"{size[0] + top + bottom}x{size[1] + left + right}; use a smaller kernel."
        )
    return height // stride + 1, width // stride + 1
