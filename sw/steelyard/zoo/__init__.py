"""Networks to start from: the trained demo network with sample images, and benchmark shapes.

Network inputs are float32 pixels divided by 255, shape (n, 1, 28, 28), so 0 is background.
torch is imported only by the functions that build a network.
"""

from steelyard.zoo.bundle import (
    CLASS_NAMES,
    NAMES,
    TRAINABLE,
    Sample,
    WeightsInfo,
    build,
    halve,
    info,
    load,
    sample,
    save,
    save_sample,
    to_input,
)

__all__ = [
    "CLASS_NAMES",
    "NAMES",
    "TRAINABLE",
    "Sample",
    "WeightsInfo",
    "build",
    "halve",
    "info",
    "load",
    "sample",
    "save",
    "save_sample",
    "to_input",
]
