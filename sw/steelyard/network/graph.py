"""Integer layer graph: the one description of a network behind golden model, compiler and files.

Tensors are int8 planes ``(channels, height, width)``; a flatten is a view, so a fully connected
layer takes any plane and its weight has the shape of a convolution over the whole plane.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import FileRefused, UserError

__all__ = [
    "Add",
    "AvgPool",
    "Conv",
    "Layer",
    "MaxPool",
    "Network",
    "Tensor",
    "from_arrays",
    "output_size",
    "to_arrays",
]


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
        # What overflows to infinity is clipped as it should be.
        with np.errstate(over="ignore"):
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

    ``y = clamp(z_y + round_half_even(acc * multiplier / 2**shift), lo, hi)`` with
    ``acc = bias + sum(w * (x - z_x))``.
    """

    weight: NDArray[np.int8]
    """int8 (out_channels, in_channels, kernel_h, kernel_w), -127 to 127; pruned weights are 0."""
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
    """Weights kept in every group, as a note of whoever made the layer, 1 to 32; None where it is
    not known, as in every imported network. Nothing is computed from it: the compiler counts."""

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
    """Exact sum over a window, requantized once with 1/n in `multiplier`; padding is real zero."""

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
    input_view: tuple[int, ...] = ()
    """Shape of an image where the network comes from; the tensor's, or (channels,) of one pixel."""
    output_view: tuple[int, ...] = ()
    """Shape of an image's scores where the network comes from, likewise."""

    def __post_init__(self) -> None:
        from .check import check_network

        for key, name in (("input_view", self.input), ("output_view", self.output)):
            if not getattr(self, key) and name in self.tensors:
                shape = self.tensors[name].shape
                # A frozen class has no other way to fill a default in.
                object.__setattr__(self, key, shape[:1] if shape[1:] == (1, 1) else shape)
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


_CLASSES: dict[str, type[Layer]] = {
    "conv": Conv,
    "fc": Conv,
    "max_pool": MaxPool,
    "avg_pool": AvgPool,
    "add": Add,
}
_ARRAYS = ("weight", "bias", "multiplier", "shift")
_STRINGS = ("name", "input", "inputs", "output")
_LENGTHS = {
    "inputs": 0, "shape": 3, "kernel": 2, "padding": 4, "input_view": 0, "output_view": 0,
}  # fmt: skip
"""Fields that are tuples, with their length where it is fixed."""


def to_arrays(network: Network) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Network as a manifest that JSON can hold and the arrays of its convolutions.

    Arrays are named ``layerN.weight``, ``layerN.bias``, ``layerN.multiplier`` and ``layerN.shift``,
    where N is the layer's place. :func:`from_arrays` is the inverse.
    """
    arrays: dict[str, NDArray] = {}
    layers = []
    for number, layer in enumerate(network.layers):
        entry: dict[str, Any] = {"kind": layer.kind}
        for each in fields(layer):
            value = getattr(layer, each.name)
            if isinstance(value, np.ndarray):
                arrays[f"layer{number}.{each.name}"] = value
            elif each.name != "fully_connected":
                entry[each.name] = _plain(value)
        layers.append(entry)
    manifest = {
        "name": network.name,
        "input": network.input,
        "output": network.output,
        "input_view": _plain(network.input_view),
        "output_view": _plain(network.output_view),
        "tensors": [
            {
                "name": tensor.name,
                "shape": _plain(tensor.shape),
                "scale": float(tensor.scale),
                "zero_point": int(tensor.zero_point),
            }
            for tensor in network.tensors.values()
        ],
        "layers": layers,
    }
    return manifest, arrays


def from_arrays(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> Network:
    """Network of a manifest and arrays written by :func:`to_arrays`.

    Raises
    ------
    FileRefused
        If an entry or array is missing, unknown or of the wrong type.
    UserError
        If the layers do not fit together.
    """
    keys = ("name", "input", "output", "tensors", "layers")
    # Files of format version 1 know no views.
    views = [key for key in ("input_view", "output_view") if key in manifest]
    header = _entry(manifest, "the network", (*keys, *views))
    tensors: dict[str, Tensor] = {}
    for number, item in enumerate(_list(header["tensors"], "tensors")):
        what = f"tensor {number}"
        values = _entry(item, what, ("name", "shape", "scale", "zero_point"))
        if not isinstance(values["scale"], float | int) or isinstance(values["scale"], bool):
            _refuse(what, "scale", values["scale"])
        name = _value(what, "name", values["name"])
        if name in tensors:
            raise FileRefused(f"Tensor {name!r} is described twice; write the file again.")
        tensors[name] = Tensor(
            name,
            _value(what, "shape", values["shape"]),
            float(values["scale"]),
            _value(what, "zero_point", values["zero_point"]),
        )
    unused = set(arrays)
    layers = []
    for number, item in enumerate(_list(header["layers"], "layers")):
        what = f"layer {number}"
        kind = item.get("kind") if isinstance(item, Mapping) else None
        if not isinstance(kind, str) or kind not in _CLASSES:
            _refuse(what, "kind", kind)
        made = _CLASSES[kind]
        names = [each.name for each in fields(made) if each.name != "fully_connected"]
        kept = _ARRAYS if made is Conv else ()
        plain = [name for name in names if name not in kept]
        values = _entry(item, what, ("kind", *plain))
        parts = {name: _value(what, name, values[name]) for name in plain}
        for name in kept:
            key = f"layer{number}.{name}"
            if key not in arrays:
                raise FileRefused(f"Array {key!r} is missing; write the file again.")
            parts[name] = arrays[key]
            unused.discard(key)
        if made is Conv:
            parts["fully_connected"] = kind == "fc"
        layers.append(made(**parts))
    if unused:
        raise FileRefused(f"Array {min(unused)!r} belongs to no layer; write the file again.")
    name, source, result = (
        _value("the network", key, header[key]) for key in ("name", "input", "output")
    )
    shapes = {key: _value("the network", key, header[key]) for key in views}
    return Network(name, source, result, tensors, tuple(layers), **shapes)


def _plain(value: Any) -> Any:
    """Value as JSON holds it; numpy integers become Python's."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, np.integer) else value


def _refuse(what: str, key: str, value: object) -> NoReturn:
    raise FileRefused(f"Entry {key!r} of {what} cannot be {value!r}; write the file again.")


def _entry(item: object, what: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """Mapping with exactly these keys."""
    if not isinstance(item, Mapping):
        raise FileRefused(f"The description of {what} is no table; write the file again.")
    for key in keys:
        if key not in item:
            raise FileRefused(f"Entry {key!r} of {what} is missing; write the file again.")
    for key in item:
        if key not in keys:
            raise FileRefused(f"Entry {key!r} of {what} is unknown; write the file again.")
    return item


def _list(value: object, key: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse("the network", key, value)
    return value


def _value(what: str, key: str, value: object) -> Any:
    """String, integer, or tuple of them, as the field of that name wants it."""
    wanted = str if key in _STRINGS else int
    if key in _LENGTHS:
        length = _LENGTHS[key]
        if not isinstance(value, list) or (length and len(value) != length):
            _refuse(what, key, value)
        if any(type(item) is not wanted for item in value):
            _refuse(what, key, value)
        return tuple(value)
    if type(value) is not wanted and not (key == "k" and value is None):
        _refuse(what, key, value)
    return value
