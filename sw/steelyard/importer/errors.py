"""What the importer raises where a quantizer is missing, for `steelyard.quantize` to add it."""

from __future__ import annotations

import numpy as np

from steelyard.errors import UserError

COMPLETE = "add the missing quantizers with 'steelyard quantize FILE --calibration IMAGES -o OUT'"
REQUANTIZE = "start from the float network and quantize it with 'steelyard quantize'"


class NotQuantized(UserError):
    """Real value that must have a QuantizeLinear and DequantizeLinear behind it and has none.

    Parameters
    ----------
    sentence : what the user reads; the way to add quantizers is put behind it
    value : name of the real value
    reader : first output of the node that reads it; None for the output of the network
    index : which input of that node it is
    weight : the value where it is a constant, else None
    axis : axis of the weight's output channels
    """

    def __init__(
        self,
        sentence: str,
        value: str,
        reader: str | None = None,
        index: int = 0,
        weight: np.ndarray | None = None,
        axis: int = 0,
    ) -> None:
        super().__init__(f"{sentence}; {COMPLETE}.")
        self.value = value
        self.reader = reader
        self.index = index
        self.weight = weight
        self.axis = axis
