"""Validation of an integer network, layer by layer."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..errors import UserError
from .graph import Add, AvgPool, Conv, Layer, MaxPool, Network, Tensor, output_size

MAX_SIDE = 65535
MAX_PADDED_KERNEL = 7
MAX_KERNEL = 256
MAX_CONV_STRIDE = 2
MAX_POOL_STRIDE = 15
MAX_MULTIPLIER = (1 << 24) - 1
MAX_SHIFT = 63
MAX_K = 32
MAX_POSITIONS = 1 << 24


def check_network(network: Network) -> None:
    """Check of everything that the golden model, the compiler and the gateware rely on.

    Raises
    ------
    UserError
        If something does not fit; the sentence names the layer or tensor, the value and what is
        allowed.
    """
    for key, tensor in network.tensors.items():
        if key != tensor.name:
            raise UserError(f"Tensor {tensor.name!r} is listed as {key!r}; use one name for it.")
        _check_tensor(tensor)
    for name in (network.input, network.output):
        if name not in network.tensors:
            raise UserError(
                f"Network {network.name!r} has no tensor {name!r}, which it names as its input "
                "or output; add the tensor."
            )
    _check_view(network, "input_view", network.input_view, network.tensor(network.input))
    _check_view(network, "output_view", network.output_view, network.tensor(network.output))
    known = {network.input}
    names: set[str] = set()
    for layer in network.layers:
        if layer.name in names:
            raise UserError(f"Layer {layer.name!r} occurs twice; give each layer its own name.")
        names.add(layer.name)
        with _naming(layer):
            _check_wiring(network, layer, known)
            _check_layer(network, layer)
        known.add(layer.output)
    if network.output not in known:
        raise UserError(
            f"Output {network.output!r} of network {network.name!r} is made by no layer; "
            "name the output of a layer."
        )
    unmade = sorted(set(network.tensors) - known)
    if unmade:
        raise UserError(
            f"Tensor {unmade[0]!r} of network {network.name!r} is made by no layer; remove it."
        )


@contextmanager
def _naming(layer: Layer) -> Iterator[None]:
    """Puts the layer's name before the sentence of an error."""
    try:
        yield
    except UserError as error:
        raise UserError(f"Layer {layer.name!r}: {error}") from None


def _between(what: str, value: object, low: int, high: int) -> None:
    if (
        not isinstance(value, int | np.integer)
        or isinstance(value, bool)
        or not low <= value <= high
    ):
        raise UserError(f"{what} must be an integer from {low} to {high}, not {value!r}.")


def _check_tensor(tensor: Tensor) -> None:
    what = f"Tensor {tensor.name!r}:"
    if not isinstance(tensor.shape, tuple) or len(tensor.shape) != 3:
        raise UserError(
            f"{what} the shape must be (channels, height, width), not {tensor.shape!r}."
        )
    for side, value in zip(("channels", "height", "width"), tensor.shape, strict=True):
        _between(f"{what} {side}", value, 1, MAX_SIDE)
    _between(f"{what} the zero point", tensor.zero_point, -128, 127)
    if not (math.isfinite(tensor.scale) and tensor.scale > 0):
        raise UserError(f"{what} the scale must be positive and finite, not {tensor.scale!r}.")


def _check_view(network: Network, key: str, view: tuple[int, ...], tensor: Tensor) -> None:
    if math.prod(view) != tensor.size or min(view, default=1) < 1:
        raise UserError(
            f"The {key} of network {network.name!r} must be a shape of the {tensor.size} elements "
            f"of {tensor.name!r}, not {view}."
        )


def _check_wiring(network: Network, layer: Layer, known: set[str]) -> None:
    wanted = 2 if isinstance(layer, Add) else 1
    if len(layer.inputs) != wanted:
        raise UserError(
            f"{layer.kind} takes {wanted} input tensor{'s' if wanted > 1 else ''}, "
            f"not {len(layer.inputs)}."
        )
    for name in layer.inputs:
        if name not in known:
            raise UserError(
                f"input {name!r} is not made before it; put the layer that makes it first."
            )
    if layer.output not in network.tensors:
        raise UserError(f"output {layer.output!r} is no tensor of the network; add the tensor.")
    if layer.output in known:
        raise UserError(f"output {layer.output!r} is made twice; give each output its own name.")


def _check_layer(network: Network, layer: Layer) -> None:
    _between("lo", layer.lo, -128, 127)
    _between("hi", layer.hi, -128, 127)
    if layer.lo > layer.hi:
        raise UserError(f"lo must not exceed hi, but they are {layer.lo} and {layer.hi}.")
    x, y = network.tensor(layer.inputs[0]), network.tensor(layer.output)
    match layer:
        case Conv():
            _check_conv(layer, x, y)
        case MaxPool():
            _check_window(layer.kernel, layer.stride, MAX_POOL_STRIDE, layer.padding)
            _check_shape(x.shape[0], layer.kernel, layer.stride, layer.padding, x, y)
            if (x.scale, x.zero_point) != (y.scale, y.zero_point):
                raise UserError(
                    "max_pool needs equal scale and zero point in and out, not "
                    f"({x.scale!r}, {x.zero_point}) and ({y.scale!r}, {y.zero_point})."
                )
        case AvgPool():
            _check_window(layer.kernel, layer.stride, MAX_POOL_STRIDE, layer.padding)
            _check_shape(x.shape[0], layer.kernel, layer.stride, layer.padding, x, y)
            _check_scaling("multiplier", layer.multiplier, layer.shift)
        case Add():
            _check_scaling("multiplier_a", layer.multiplier_a, layer.shift)
            _check_scaling("multiplier_b", layer.multiplier_b, layer.shift)
            other = network.tensor(layer.inputs[1])
            if not x.shape == other.shape == y.shape:
                raise UserError(
                    f"add needs three equal shapes, not {x.shape}, {other.shape} and {y.shape}."
                )
        case _:
            raise UserError(
                f"{type(layer).__name__} is no known kind; use Conv, MaxPool, AvgPool or Add."
            )


def _check_scaling(what: str, multiplier: object, shift: object) -> None:
    _between(what, multiplier, 0, MAX_MULTIPLIER)
    _between("shift", shift, 1, MAX_SHIFT)


def _check_window(
    kernel: tuple[int, int], stride: int, max_stride: int, padding: tuple[int, int, int, int]
) -> None:
    if len(kernel) != 2 or len(padding) != 4:
        raise UserError(
            "the kernel must be (height, width) and the padding (top, left, bottom, right), "
            f"not {kernel!r} and {padding!r}."
        )
    limit = MAX_PADDED_KERNEL if any(padding) else MAX_KERNEL
    condition = "with" if any(padding) else "without"
    for side, size in zip(("height", "width"), kernel, strict=True):
        _between(f"kernel {side} {condition} padding", size, 1, limit)
    _between("stride", stride, 1, max_stride)
    for side, size, value in zip(
        ("top", "left", "bottom", "right"), (*kernel, *kernel), padding, strict=True
    ):
        # A window must meet the map: padding as large as the kernel would leave it outside.
        _between(f"{side} padding of a kernel of {kernel[0]}x{kernel[1]}", value, 0, size - 1)


def _check_shape(
    channels: int,
    kernel: tuple[int, int],
    stride: int,
    padding: tuple[int, int, int, int],
    x: Tensor,
    y: Tensor,
) -> None:
    expected = (channels, *output_size((x.shape[1], x.shape[2]), kernel, stride, padding))
    if y.shape != expected:
        raise UserError(
            f"output {y.name!r} must have the shape {expected} that follows from the input, "
            f"not {y.shape}."
        )


def _check_conv(conv: Conv, x: Tensor, y: Tensor) -> None:
    weight = conv.weight
    if weight.dtype != np.int8 or weight.ndim != 4 or 0 in weight.shape:
        raise UserError(
            "the weight must be int8 (out_channels, in_channels, kernel_h, kernel_w), "
            f"not {weight.dtype} {weight.shape}."
        )
    if weight.shape[1] != x.shape[0]:
        raise UserError(
            f"the weight has {weight.shape[1]} input channels where {x.name!r} has {x.shape[0]}."
        )
    if int(weight.min()) < -127:
        raise UserError(
            "weights must lie from -127 to 127, but -128 occurs; quantize symmetrically."
        )
    kernel = (weight.shape[2], weight.shape[3])
    _check_window(kernel, conv.stride, MAX_CONV_STRIDE, conv.padding)
    if weight[0].size > MAX_POSITIONS:
        raise UserError(
            f"an output channel may have up to {MAX_POSITIONS} weights, not {weight[0].size}."
        )
    if conv.fully_connected and (kernel != x.shape[1:] or any(conv.padding) or conv.stride != 1):
        raise UserError(
            f"a fully connected layer's kernel must cover the map of {x.shape[1]}x{x.shape[2]} "
            f"without padding at stride 1, not {kernel[0]}x{kernel[1]} with padding "
            f"{conv.padding} at stride {conv.stride}."
        )
    _check_shape(weight.shape[0], kernel, conv.stride, conv.padding, x, y)
    for what, values, low, high in (
        ("bias", conv.bias, -(1 << 31), (1 << 31) - 1),
        ("multiplier", conv.multiplier, 0, MAX_MULTIPLIER),
        ("shift", conv.shift, 1, MAX_SHIFT),
    ):
        if values.dtype != np.int32 or values.shape != (weight.shape[0],):
            raise UserError(
                f"the {what} must be int32 ({weight.shape[0]},), not {values.dtype} {values.shape}."
            )
        _between(f"the smallest {what}", int(values.min()), low, high)
        _between(f"the largest {what}", int(values.max()), low, high)
    if conv.k is not None:
        _between("k", conv.k, 1, MAX_K)
