"""Golden model: the integer network in numpy, exact by construction.

Every value of an int8 tensor follows from the number contract alone. Matrix products run in BLAS,
but only in a floating-point type whose integers are provably exact for the actual weights, so the
order of summation cannot matter. Blocks of images are kept as ``(channels, height, width,
images)``: windows are then long contiguous runs, and a layer's output is already laid out as the
next layer's input.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import ThreadpoolController

from ..errors import UserError
from .graph import Add, AvgPool, Conv, Layer, MaxPool, Network, output_size

__all__ = ["accumulator_bound", "layer", "requantize", "run"]

Block = NDArray[np.int8]
Kernel = Callable[..., Block]

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53
WINDOW_BYTES = 1 << 20
"""Bytes of gathered windows a matrix product works on: it should stay in a core's cache."""
BLOCK_ELEMENTS = 1 << 19
"""Elements of the largest tensor in one block of images."""
BLOCK_IMAGES = 64


def requantize(
    accumulator: NDArray[np.integer],
    multiplier: ArrayLike,
    shift: ArrayLike,
    zero_point: int,
    lo: int,
    hi: int,
) -> NDArray[np.int8]:
    """Int8 codes ``clamp(zero_point + round_half_even(acc * multiplier / 2**shift), lo, hi)``.

    Parameters
    ----------
    accumulator : integers ``acc`` of any shape, magnitude below 2**39
    multiplier : 0 to 2**24 - 1, broadcast against `accumulator`
    shift : 1 to 63, broadcast against `accumulator`
    zero_point, lo, hi : int8 codes
    """
    bits = np.asarray(shift, dtype=np.int64)
    product = np.asarray(accumulator, dtype=np.int64) * np.asarray(multiplier, dtype=np.int64)
    quotient = product >> bits
    one = np.int64(1)
    half = one << (bits - one)
    remainder = product & (half - one + half)
    quotient += (remainder > half) | ((remainder == half) & ((quotient & one) == one))
    return np.clip(quotient + zero_point, lo, hi).astype(np.int8)


def accumulator_bound(conv: Conv) -> NDArray[np.int64]:
    """Largest magnitude of any partial sum ``sum(w * x)`` over all int8 inputs.

    Inputs are raw codes, as in the array: zero-point correction and bias are added afterwards.
    int64 (out_channels,).
    """
    weight = conv.weight.reshape(len(conv.weight), -1).astype(np.int64)
    positive = np.maximum(weight, 0).sum(axis=1)
    negative = np.maximum(-weight, 0).sum(axis=1)
    return np.maximum(128 * positive + 127 * negative, 127 * positive + 128 * negative)


def layer(network: Network, which: Layer, *inputs: NDArray[np.int8]) -> NDArray[np.int8]:
    """One layer's output, int8 (images, channels, height, width).

    Parameters
    ----------
    which : layer of `network`
    inputs : int8 (images, channels, height, width), one for each of the layer's inputs

    Raises
    ------
    UserError
        If the inputs are not int8 of the layer's shapes, or their number is wrong.
    """
    if len(inputs) != len(which.inputs):
        raise UserError(
            f"Layer {which.name!r} takes {len(which.inputs)} inputs, not {len(inputs)}; "
            f"give {', '.join(which.inputs)}."
        )
    for name, values in zip(which.inputs, inputs, strict=True):
        _check_input(network, name, values)
    images = len(inputs[0])
    if any(len(values) != images for values in inputs):
        raise UserError(
            f"Layer {which.name!r} needs the same number of images in all inputs, "
            f"not {', '.join(str(len(values)) for values in inputs)}; give equal batches."
        )
    kernel = _kernel(network, which)
    output = np.empty((images, *network.tensor(which.output).shape), np.int8)
    step = _block_images(network, (*which.inputs, which.output))
    with _single_threaded_blas():
        for start in range(0, images, step):
            blocks = [_to_block(values[start : start + step]) for values in inputs]
            output[start : start + step] = kernel(*blocks).transpose(3, 0, 1, 2)
    return output


@overload
def run(
    network: Network,
    x: NDArray[np.int8],
    *,
    trace: Literal[False] = False,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.int8]: ...


@overload
def run(
    network: Network,
    x: NDArray[np.int8],
    *,
    trace: Literal[True],
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, NDArray[np.int8]]: ...


def run(
    network: Network,
    x: NDArray[np.int8],
    *,
    trace: bool = False,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.int8] | dict[str, NDArray[np.int8]]:
    """Output of the network, or with `trace` every tensor by name.

    Parameters
    ----------
    x : int8 (images, channels, height, width), codes of the network's input tensor
    trace : whether to keep all tensors, the input among them
    threads : blocks of images at work at once; by default the machine's processors, at most 4
    progress : called with the number of images in every finished block

    Raises
    ------
    UserError
        If `x` is not int8 of the input's shape, or `threads` is not positive.
    """
    _check_input(network, network.input, x)
    if threads is None:
        threads = min(4, len(os.sched_getaffinity(0)))
    if threads < 1:
        raise UserError(f"The golden model needs at least 1 thread, not {threads}; leave it out.")
    kernels = [(each, _kernel(network, each)) for each in network.layers]
    kept = [each.output for each in network.layers] if trace else [network.output]
    results = {name: np.empty((len(x), *network.tensor(name).shape), np.int8) for name in kept}
    if network.output == network.input or trace:
        results[network.input] = x
    last_use = {name: i for i, each in enumerate(network.layers) for name in each.inputs}
    step = min(_block_images(network, tuple(network.tensors)), max(1, -(-len(x) // threads)))

    def run_block(start: int) -> int:
        live = {network.input: _to_block(x[start : start + step])}
        for i, (each, kernel) in enumerate(kernels):
            block = kernel(*(live[name] for name in each.inputs))
            live[each.output] = block
            if each.output in results:
                results[each.output][start : start + step] = block.transpose(3, 0, 1, 2)
            for name in each.inputs:
                if last_use[name] == i:
                    live.pop(name, None)
        return min(step, len(x) - start)

    with _single_threaded_blas(), ThreadPoolExecutor(threads) as pool:
        for count in pool.map(run_block, range(0, len(x), step)):
            if progress is not None:
                progress(count)
    return results if trace else results[network.output]


def _single_threaded_blas() -> AbstractContextManager[object]:
    """Context in which a matrix product keeps to its own thread.

    Products of one block are small: threads inside BLAS mostly spin, and blocks run side by side.
    """
    return ThreadpoolController().limit(limits=1, user_api="blas")


def _check_input(network: Network, name: str, values: NDArray[np.int8]) -> None:
    shape = network.tensor(name).shape
    if values.dtype != np.int8 or values.ndim != 4 or values.shape[1:] != shape:
        raise UserError(
            f"Tensor {name!r} of network {network.name!r} must be int8 of shape "
            f"(images, {', '.join(map(str, shape))}), not {values.dtype} of {values.shape}; "
            "quantize it with the tensor's scale and zero point."
        )


def _block_images(network: Network, names: tuple[str, ...]) -> int:
    largest = max(network.tensor(name).size for name in names)
    return max(1, min(BLOCK_IMAGES, BLOCK_ELEMENTS // largest))


def _to_block(images: NDArray[np.int8]) -> Block:
    return np.ascontiguousarray(images.transpose(1, 2, 3, 0))


def _kernel(network: Network, which: Layer) -> Kernel:
    """Function from a layer's input blocks to its output block, with all parameters prepared."""
    match which:
        case Conv():
            return _conv_kernel(network, which)
        case MaxPool():
            return _max_pool_kernel(which)
        case AvgPool():
            return _avg_pool_kernel(network, which)
        case Add():
            return _add_kernel(network, which)
        case _:
            raise UserError(
                f"Layer {which.name!r} is a {type(which).__name__}, which the golden model does "
                "not know; use Conv, MaxPool, AvgPool or Add."
            )


def _pad(x: Block, padding: tuple[int, int, int, int], value: int, dtype: type) -> NDArray:
    top, left, bottom, right = padding
    channels, height, width, images = x.shape
    shape = (channels, height + top + bottom, width + left + right, images)
    padded = np.full(shape, value, dtype) if any(padding) else np.empty(shape, dtype)
    padded[:, top : top + height, left : left + width] = x
    return padded


def _conv_kernel(network: Network, conv: Conv) -> Kernel:
    z_x = network.tensor(conv.inputs[0]).zero_point
    z_y = network.tensor(conv.output).zero_point
    channels, _, kernel_h, kernel_w = conv.weight.shape
    stride = conv.stride
    # Raw codes keep the sums smallest; the zero point moves into the bias, as in the array.
    flat = conv.weight.transpose(0, 2, 3, 1).reshape(channels, -1)
    bias = conv.bias.astype(np.int64) - z_x * flat.sum(axis=1, dtype=np.int64)
    bound = accumulator_bound(conv)
    single = int(bound.max()) <= FLOAT32_EXACT
    dtype = np.float32 if single else np.float64
    matrix = flat.astype(dtype)
    finish = _finisher(conv, bound, bias, z_y)

    def kernel(x: Block) -> Block:
        padded = _pad(x, conv.padding, z_x, dtype)
        height, width = output_size(x.shape[1:3], (kernel_h, kernel_w), stride, conv.padding)
        images = x.shape[3]
        output = np.empty((channels, height, width, images), np.int8)
        row_bytes = flat.shape[1] * width * images * np.dtype(dtype).itemsize
        step = min(height, max(1, WINDOW_BYTES // row_bytes))
        windows = np.empty((kernel_h, kernel_w, x.shape[0], step, width, images), dtype)
        for y in range(0, height, step):
            rows = min(step, height - y)
            if rows < step:
                windows = np.empty((*windows.shape[:3], rows, width, images), dtype)
            for ky in range(kernel_h):
                first = y * stride + ky
                band = padded[:, first : first + (rows - 1) * stride + 1 : stride]
                for kx in range(kernel_w):
                    windows[ky, kx] = band[:, :, kx : kx + (width - 1) * stride + 1 : stride]
            sums = matrix @ windows.reshape(flat.shape[1], -1)
            output[:, y : y + rows] = finish(sums).reshape(channels, rows, width, images)
        return output

    return kernel


def _finisher(
    conv: Conv, bound: NDArray[np.int64], bias: NDArray[np.int64], z_y: int
) -> Callable[[NDArray], NDArray[np.int8]]:
    """Bias and requantization of exact sums (out_channels, pixels)."""
    largest = (bound + np.abs(bias)) * conv.multiplier.astype(np.int64)
    if int(largest.max()) < FLOAT64_EXACT:
        # The product fits float64 and a power of two only moves its exponent, so rint sees the
        # true quotient.
        scale = np.ldexp(conv.multiplier.astype(np.float64), -conv.shift)[:, None]
        offset = bias.astype(np.float64)[:, None]
        return lambda sums: _round(np.add(sums, offset, dtype=np.float64), scale, z_y, conv)

    def exact(sums: NDArray) -> NDArray[np.int8]:
        total = sums.astype(np.int64) + bias[:, None]
        m, s = conv.multiplier[:, None], conv.shift[:, None]
        return requantize(total, m, s, z_y, conv.lo, conv.hi)

    return exact


def _round(
    total: NDArray[np.float64], scale: NDArray[np.float64] | float, z_y: int, which: Layer
) -> NDArray[np.int8]:
    """Requantization in place of float64 sums whose products with `scale` are exact."""
    total *= scale
    np.rint(total, out=total)
    total += z_y
    np.clip(total, which.lo, which.hi, out=total)
    return total.astype(np.int8)


def _window(x: NDArray, kernel: tuple[int, int], stride: int, combine: np.ufunc) -> NDArray:
    """`combine` over every window, first down the rows, then along them."""
    for axis, size in ((1, kernel[0]), (2, kernel[1])):
        span = ((x.shape[axis] - size) // stride) * stride + 1
        lead = (slice(None),) * axis
        result = x[(*lead, slice(0, span, stride))].copy()
        for tap in range(1, size):
            combine(result, x[(*lead, slice(tap, tap + span, stride))], out=result)
        x = result
    return x


def _max_pool_kernel(pool: MaxPool) -> Kernel:
    def kernel(x: Block) -> Block:
        best = _window(_pad(x, pool.padding, -128, np.int8), pool.kernel, pool.stride, np.maximum)
        return np.clip(best, pool.lo, pool.hi)

    return kernel


def _avg_pool_kernel(network: Network, pool: AvgPool) -> Kernel:
    z_x = network.tensor(pool.inputs[0]).zero_point
    z_y = network.tensor(pool.output).zero_point
    offset = -float(pool.kernel[0] * pool.kernel[1] * z_x)
    scale = float(np.ldexp(float(pool.multiplier), -pool.shift))

    def kernel(x: Block) -> Block:
        sums = _window(_pad(x, pool.padding, z_x, np.int32), pool.kernel, pool.stride, np.add)
        return _round(sums + offset, scale, z_y, pool)

    return kernel


def _add_kernel(network: Network, add: Add) -> Kernel:
    z_a, z_b = (network.tensor(name).zero_point for name in add.inputs)
    z_y = network.tensor(add.output).zero_point
    scale = float(np.ldexp(1.0, -add.shift))

    def kernel(a: Block, b: Block) -> Block:
        total = (a - np.float64(z_a)) * add.multiplier_a
        total += (b - np.float64(z_b)) * add.multiplier_b
        return _round(total, scale, z_y, add)

    return kernel
