"""Images as users hold them, and scores as the network's own graph gives them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..network import Network
from .errors import BadInput

__all__ = ["float_codes", "int8_codes", "int8_planes", "raw_output", "real_output"]


def float_codes(network: Network, images: ArrayLike) -> NDArray[np.int8]:
    """Int8 codes (images, channels, height, width) of images in real units.

    Parameters
    ----------
    images : floating point, finite, (images, channels, height, width) or the shape in which the
        network's graph takes them, the latter alone where it has channels last; an array, torch
        tensor or nested list

    Raises
    ------
    BadInput
        If they are no such array.
    """
    given = _array(images)
    if not np.issubdtype(given.dtype, np.floating):
        raise BadInput(
            f"Images in real units must be floating point, not {given.dtype}; convert them, or "
            "give int8 codes with --raw on the command line, with infer() in Python."
        )
    if not np.isfinite(given).all():
        raise BadInput(
            "Images hold NaN or infinite values, allowed are finite ones; replace these values."
        )
    return network.tensor(network.input).quantize(_planes(network, given, network.input_last))


def int8_codes(network: Network, images: ArrayLike) -> NDArray[np.int8]:
    """Int8 codes (images, channels, height, width) of images that are codes already.

    Parameters
    ----------
    images : int8, in the shapes that :func:`float_codes` takes

    Raises
    ------
    BadInput
        If they are not int8, or of another shape than the network's input.
    """
    return _planes(network, _codes(images), network.input_last)


def int8_planes(network: Network, images: ArrayLike) -> NDArray[np.int8]:
    """Int8 codes (images, channels, height, width), checked.

    Parameters
    ----------
    images : int8 with channels first, whatever the network's graph has

    Raises
    ------
    BadInput
        If they are not int8, or of another shape than the network's input.
    """
    return _planes(network, _codes(images), last=False)


def raw_output(
    network: Network, codes: NDArray[np.int8], name: str | None = None
) -> NDArray[np.int8]:
    """Int8 codes (images, channels, height, width); as the graph has them with channels last.

    Parameters
    ----------
    name : which output, by default the first
    """
    name = name or network.output
    return _viewed(network, codes, name) if network.is_last(name) else codes


def real_output(
    network: Network, codes: NDArray[np.int8], name: str | None = None
) -> NDArray[np.float32]:
    """Real output of int8 codes, float32 (images, ...) in the shape of the network's own graph.

    Parameters
    ----------
    name : which output, by default the first
    """
    name = name or network.output
    return _viewed(network, network.tensor(name).dequantize(codes), name)


def _viewed(network: Network, values: NDArray, name: str) -> NDArray:
    if network.is_last(name):
        values = values.transpose(0, 2, 3, 1)
    view = network.output_views[network.outputs.index(name)]
    return values.reshape(len(values), *view)


def _codes(images: ArrayLike) -> NDArray:
    given = _array(images)
    if given.dtype != np.int8:
        raise BadInput(
            f"Images must be int8 codes, not {given.dtype}; use infer_float in Python, or "
            "leave --raw out for real units."
        )
    return given


def _array(images: ArrayLike) -> NDArray:
    try:
        return np.asarray(images)
    # torch refuses tensors with gradients or on a GPU, numpy ragged lists.
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise BadInput(f"Images are no array ({reason}); give a numpy array.") from None


def _planes(network: Network, given: NDArray, last: bool) -> NDArray:
    shape = network.tensor(network.input).shape
    allowed = dict.fromkeys([shape, network.input_view])
    if network.input_last:
        # One shape must not mean two orders.
        allowed = dict.fromkeys([network.input_view if last else shape])
    if given.shape[1:] not in allowed or not given.ndim:
        sizes = " or ".join(f"(images, {', '.join(map(str, each))})" for each in allowed)
        raise BadInput(f"Images must have the shape {sizes}, not {given.shape}; reshape them.")
    if not len(given):
        raise BadInput("Images are needed, and the array holds none; give at least one.")
    return network.planes(network.input, given) if last else given.reshape(len(given), *shape)
