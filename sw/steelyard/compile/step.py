"""What a layer becomes: descriptors before their addresses are known, and parameter items."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..contract.descriptor import Descriptor

__all__ = ["Item", "Lowered", "Step"]

Item = tuple[int, int, int]
"""Bias, multiplier and shift of one output channel."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Descriptor of a layer, or of some of its channels.

    Members
    -------
    descriptor : without addresses
    reads, writes : first channel of the inputs and of the output that it works on
    item : first of the layer's parameter items that it takes
    """

    descriptor: Descriptor
    reads: int = 0
    writes: int = 0
    item: int = 0


class Lowered(NamedTuple):
    """A layer without weights as steps that run one after the other, and parameter items.

    Its table, int8 (256,), follows its items; steps whose descriptor says `table` look it up.
    `negative` is the multiplier of negative sums, where that is another than the items'.
    """

    steps: Sequence[Step]
    items: Sequence[Item]
    table: NDArray[np.int8] | None = None
    negative: int | None = None
