"""Images as users hold them, and scores as the network's own graph gives them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..network import Network
from .errors import BadInput

__all__ = ["float_codes", "int8_codes", "real_output"]


def float_codes(network: Network, images: ArrayLike) -> NDArray[np.int8]:
    """Int8 codes (images, channels, height, width) of images in real units.

    Parameters
    ----------
    images : floating point, finite, (images, channels, height, width) or the shape in which the
        network's graph takes them; an array, torch tensor or nested list

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
    return network.tensor(network.input).quantize(_planes(network, given))


def int8_codes(network: Network, images: ArrayLike) -> NDArray[np.int8]:
    """Int8 codes (images, channels, height, width) of images that are such codes already.

    Raises
    ------
    BadInput
        If they are not int8, or of another shape than the network's input.
    """
    given = _array(images)
    if given.dtype != np.int8:
        raise BadInput(
            f"Images must be int8 codes, not {given.dtype}; use infer_float in Python, or "
            "leave --raw out for real units."
        )
    return _planes(network, given)


def real_output(
    network: Network, codes: NDArray[np.int8], name: str | None = None
) -> NDArray[np.float32]:
    """Real output of int8 codes, float32 (images, ...) in the shape of the network's own graph.

    Parameters
    ----------
    name : which output, by default the first
    """
    name = name or network.output
    view = network.output_views[network.outputs.index(name)]
    return network.tensor(name).dequantize(codes).reshape(len(codes), *view)


def _array(images: ArrayLike) -> NDArray:
    try:
        return np.asarray(images)
    # torch refuses tensors with gradients or on a GPU, numpy ragged lists.
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise BadInput(f"Images are no array ({reason}); give a numpy array.") from None


def _planes(network: Network, given: NDArray) -> NDArray:
    shape = network.tensor(network.input).shape
    allowed = dict.fromkeys([shape, network.input_view])
    if given.shape[1:] not in allowed or not given.ndim:
        sizes = " or ".join(f"(images, {', '.join(map(str, each))})" for each in allowed)
        raise BadInput(f"Images must have the shape {sizes}, not {given.shape}; reshape them.")
    if not len(given):
        raise BadInput("Images are needed, and the array holds none; give at least one.")
    return given.reshape(len(given), *shape)
