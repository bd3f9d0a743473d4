"""The convolutions and matrix products that a network really computes with its layers' weights.

A layer's own attributes do not tell them: a subclass may pad before it, or take another stride, and
a network may call ``functional.conv2d`` with a layer's weight. What is watched is the call itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Layer = nn.Conv2d | nn.Linear

CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
"""Arguments of ``functional.conv2d``; those of ``functional.linear`` are its first three."""
WEIGHTED = (
    functional.conv1d,
    functional.conv2d,
    functional.conv3d,
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
    functional.linear,
)
"""Functions whose second argument is a weight."""


@dataclass(frozen=True)
class Call:
    """One product of a layer's weight with an input.

    Attributes
    ----------
    layer
        Whose weight it is.
    input, output
        Tensors as the product takes and gives them, batch first.
    bias
        What is added, None if nothing is.
    stride, dilation
        Of a convolution by axis; 1 for a matrix.
    padding
        Zeros left, right, above and below.
    groups
        Of a convolution.
    """

    layer: Layer
    input: torch.Tensor
    output: torch.Tensor
    bias: torch.Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int


class Calls(TorchFunctionMode):
    """Hands the calls of a forward pass that take a layer's weight to a function.

    Parameters
    ----------
    layers
        To watch.
    seen
        Called with every product in its turn; what it raises ends the forward pass.
    """

    def __init__(self, layers: Iterable[Layer], seen: Callable[[Call], None]) -> None:
        super().__init__()
        self._layers = tuple(layers)
        self._seen = seen

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        if func in (functional.conv2d, functional.linear):
            call = call_of(self._layers, func, args, given, result)
            if call is not None:
                self._seen(call)
        return result


def call_of(
    layers: Iterable[Layer],
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    result: torch.Tensor,
) -> Call | None:
    """The call as one of a layer's weight, None if the weight is no layer's own."""
    named = {**dict(zip(CONVOLUTION, args, strict=False)), **kwargs}
    weight = named["weight"]
    # Pruning that is held by torch makes a new weight at every pass: ask for the present one.
    layer = next((each for each in layers if each.weight is weight), None)
    if layer is None or isinstance(layer, nn.Conv2d) != (func is functional.conv2d):
        return None
    stride, dilation = (_pair(named.get(name, 1)) for name in ("stride", "dilation"))
    return Call(
        layer,
        named["input"],
        result,
        named.get("bias"),
        stride,
        _sides(named.get("padding", 0), weight, dilation) if weight.dim() == 4 else (0, 0, 0, 0),
        dilation,
        named.get("groups", 1),
    )


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    if isinstance(value, int):
        return (value, value)
    return (value[0], value[-1])


def _sides(
    padding: str | int | tuple[int, ...], weight: torch.Tensor, dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        height, width = (dilation[axis] * (weight.shape[2 + axis] - 1) for axis in (0, 1))
        # An odd zero goes behind.
        return (width // 2, width - width // 2, height // 2, height - height // 2)
    assert not isinstance(padding, str)
    above, left = _pair(padding)
    return (left, left, above, above)
