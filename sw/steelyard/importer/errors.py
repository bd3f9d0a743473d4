"""What the importer raises where a quantizer is missing, for `steelyard.quantize` to add it."""

from __future__ import annotations

from collections.abc import Sequence

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


class Obstacles(UserError):
    """Everything that keeps a network from running, each in a sentence.

    Parameters
    ----------
    what : the network, as sentences begin
    sentences : one or more, each with the culprit, what is allowed and what to do
    """

    def __init__(self, what: str, sentences: Sequence[str]) -> None:
        lines = "".join(f"\n- {each}" for each in sentences)
        several = f"{what} cannot run for {len(sentences)} reasons:{lines}"
        super().__init__(sentences[0] if len(sentences) == 1 else several)
        self.sentences = tuple(sentences)
