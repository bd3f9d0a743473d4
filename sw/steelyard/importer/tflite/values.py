"""What tensors of a TFLite file stand for while its graph is walked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steelyard.errors import UserError
from steelyard.importer.tflite.file import TensorInfo
from steelyard.network import Shape, Tensor

__all__ = ["QUANTIZE", "Form", "Value", "plane_of", "tensor_of"]

QUANTIZE = (
    "convert the network with a representative dataset and TFLITE_BUILTINS_INT8 as its only "
    "operators"
)


@dataclass(frozen=True)
class Form:
    """How the file holds a tensor's codes.

    Members
    -------
    type : INT8, UINT8, which is 128 more, or FLOAT32, the real values
    host : whether a softmax, which the host computes, stands before it
    """

    type: str = "INT8"
    host: bool = False


@dataclass(frozen=True)
class Value:
    """What a tensor of the file stands for.

    Members
    -------
    tensor : name of the network's tensor; None for a real input that nothing has quantized yet
    view : shape without the batch axis, elements in order of height, width and channels
    """

    tensor: str | None
    view: tuple[int, ...]
    form: Form = Form()


def plane_of(view: tuple[int, ...]) -> Shape:
    """Channels, height and width of a shape with channels last."""
    if len(view) == 3:
        height, width, channels = view
        return (channels, height, width)
    return (math.prod(view), 1, 1)


def tensor_of(info: TensorInfo, shape: Shape, name: str, type: str = "INT8") -> Tensor:
    """The file's tensor as the network's; codes of UINT8 are taken 128 less.

    Raises
    ------
    UserError
        If it is of another type, or has no single scale and zero point that can be; the sentence
        begins with its name.
    """
    if info.type != type:
        raise UserError(f"{info.name!r} of type {info.type}, allowed is {type}; {QUANTIZE}.")
    scale, zero = info.scale.tolist(), info.zero_point.tolist()
    if len(scale) != 1 or len(zero) != 1:
        raise UserError(
            f"{info.name!r} with {len(scale)} scales and {len(zero)} zero points, allowed is one "
            f"of each; {QUANTIZE}."
        )
    tensor = Tensor(name, shape, scale[0], zero[0] - (128 if type == "UINT8" else 0))
    try:
        tensor.check()
    except UserError as error:
        reason = str(error).rstrip(".")
        raise UserError(
            f"{info.name!r} that cannot be ({reason}); convert the network again."
        ) from None
    return tensor
