"""Operators that keep the elements and their order."""

from __future__ import annotations

import math
from dataclasses import replace

from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.registry import operator
from steelyard.importer.tflite.walk import Walk


@operator("RESHAPE", "SQUEEZE", "EXPAND_DIMS", inputs=1)
def view(walk: Walk, op: Operator) -> None:
    """Another shape of the same elements, as the file says of the output."""
    value = walk.value(op)
    shape = walk.view(op)
    if math.prod(shape) != math.prod(value.view) or not shape or min(shape) < 1:
        raise op.error(
            f"makes shape {('batch', *shape)} of {('batch', *value.view)}, allowed are shapes of "
            "as many elements; convert the network again."
        )
    walk.bind(op, replace(value, view=shape))
