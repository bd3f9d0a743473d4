"""What a name of the ONNX graph stands for while the graph is walked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steelyard.importer.drafts import Draft
from steelyard.importer.graph import Node
from steelyard.network import Tensor

Padding = tuple[int, int, int, int]
NO_PADDING: Padding = (0, 0, 0, 0)


@dataclass(frozen=True)
class Constant:
    """Constant that is not quantized."""

    array: np.ndarray


@dataclass(frozen=True)
class QuantizedConstant:
    """Constant as integer codes with zero point 0; `scale` is a scalar or lies along `axis`.

    Real once a DequantizeLinear has passed; `real` tells.
    """

    codes: np.ndarray
    scale: np.ndarray
    axis: int
    real: bool = False


@dataclass(frozen=True)
class NetworkInput:
    """The network's float input, before its QuantizeLinear."""

    name: str
    view: tuple[int, ...]


@dataclass(frozen=True)
class Activation:
    """Int8 tensor seen with the shape `view` (without batch) in the same element order.

    `padding` (top, left, bottom, right) of zeros from a Pad node waits for the layer that takes it.
    """

    tensor: Tensor
    view: tuple[int, ...]
    padding: Padding = NO_PADDING
    real: bool = False
    """Whether a DequantizeLinear has passed."""

    def plane(self, node: Node) -> tuple[int, int, int]:
        """Channels, height and width without padding.

        Raises
        ------
        UserError
            If the tensor has been flattened.
        """
        if self.view != self.tensor.shape:
            raise node.error(
                f"takes a tensor of shape {('batch', *self.view)}, allowed is the unflattened "
                f"{('batch', *self.tensor.shape)}; place flatten and reshape right before the "
                "fully connected layers."
            )
        return self.tensor.shape

    def unpadded(self, node: Node) -> Activation:
        """Itself.

        Raises
        ------
        UserError
            If padding waits: only convolutions and pooling take it.
        """
        if self.padding != NO_PADDING:
            raise node.error(
                "follows a Pad node, which only convolutions and pooling may do; "
                "move the padding into the next convolution."
            )
        return self


@dataclass(frozen=True)
class Pending:
    """Real result of a layer that waits for its QuantizeLinear, clamped to [`low`, `high`]."""

    draft: Draft
    view: tuple[int, ...]
    low: float = -np.inf
    high: float = np.inf


Value = Constant | QuantizedConstant | NetworkInput | Activation | Pending
