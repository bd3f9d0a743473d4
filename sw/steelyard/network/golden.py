"""Golden model: the integer network in numpy, exact by construction.

Every value of an int8 tensor follows from the number contract alone. Each kind of layer brings its
own function on blocks of images (`steelyard.network.arithmetic`); this runs them.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from ..errors import UserError
from ..progress import Progress
from .arithmetic import Block, BlockFunction
from .graph import Network
from .layer import Layer

__all__ = ["layer", "run"]

BLOCK_ELEMENTS = 1 << 19
"""Elements of the largest tensor in one block of images."""
BLOCK_IMAGES = 64


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
    function = _function(network, which)
    output = np.empty((images, *network.tensor(which.output).shape), np.int8)
    step = _block_images(network, (*which.inputs, which.output))
    with _single_threaded_blas():
        for start in range(0, images, step):
            blocks = [_to_block(values[start : start + step]) for values in inputs]
            output[start : start + step] = function(*blocks).transpose(3, 0, 1, 2)
    return output


@overload
def run(
    network: Network,
    x: NDArray[np.int8],
    *,
    trace: Literal[False] = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.int8]: ...


@overload
def run(
    network: Network,
    x: NDArray[np.int8],
    *,
    trace: Literal[True],
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, NDArray[np.int8]]: ...


def run(
    network: Network,
    x: NDArray[np.int8],
    *,
    trace: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.int8] | dict[str, NDArray[np.int8]]:
    """Output of the network, or with `trace` every tensor by name.

    Parameters
    ----------
    x : int8 (images, channels, height, width), codes of the network's input tensor
    trace : whether to keep all tensors, the input among them
    threads : blocks of images at work at once; by default the machine's processors, at most 4
    progress : called with the images that are done, their number, and ``images``

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
    functions = [(each, _function(network, each)) for each in network.layers]
    kept = [each.output for each in network.layers] if trace else network.outputs
    results = {name: np.empty((len(x), *network.tensor(name).shape), np.int8) for name in kept}
    if network.input in network.outputs or trace:
        results[network.input] = x
    last_use = {name: i for i, each in enumerate(network.layers) for name in each.inputs}
    step = min(_block_images(network, tuple(network.tensors)), max(1, -(-len(x) // threads)))

    def run_block(start: int) -> int:
        live = {network.input: _to_block(x[start : start + step])}
        for i, (each, function) in enumerate(functions):
            block = function(*(live[name] for name in each.inputs))
            live[each.output] = block
            if each.output in results:
                results[each.output][start : start + step] = block.transpose(3, 0, 1, 2)
            for name in each.inputs:
                if last_use[name] == i:
                    live.pop(name, None)
        return min(step, len(x) - start)

    with _single_threaded_blas(), ThreadPoolExecutor(threads) as pool:
        done = 0
        for count in pool.map(run_block, range(0, len(x), step)):
            done += count
            if progress is not None:
                progress(done, len(x), "images")
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


def _function(network: Network, which: Layer) -> BlockFunction:
    """Function from a layer's input blocks to its output block."""
    return which.golden(network.inputs_of(which), network.tensor(which.output))
