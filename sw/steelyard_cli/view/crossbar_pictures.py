"""Pictures of filled crossbars."""

from collections.abc import Iterator

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from steelyard.engines.crossbar import NetworkMapping

from .console import percent
from .pictures import WIDTH_INCHES, svg

__all__ = ["sheets"]

SHEET = (3, 4)
"""Rows and columns of crossbars in a picture."""
FREE = 245
"""Grey of cells that nothing uses."""


def sheets(mapping: NetworkMapping) -> Iterator[str]:
    """Pictures of filled crossbars, coloured by layer."""
    names = list(mapping.layers)
    hues = matplotlib.colormaps["turbo"](np.linspace(0.08, 0.92, max(1, len(names))))[:, :3]
    high, wide = SHEET
    for first in range(0, mapping.crossbars, high * wide):
        numbers = range(first, min(first + high * wide, mapping.crossbars))
        across = min(wide, len(numbers))
        down = -(-len(numbers) // across)
        figure = Figure(figsize=(WIDTH_INCHES, 0.8 + 2.7 * down))
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, number in zip(grid, numbers, strict=False):
            axes.set_axis_on()
            axes.imshow(_picture(mapping, number, hues), interpolation="none")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"{number}: {percent(mapping.fills[number])}", fontsize=9)
        figure.legend(
            handles=[Patch(color=hue, label=name) for hue, name in zip(hues, names, strict=True)],
            loc="lower center", ncols=4, frameon=False, fontsize=8, bbox_to_anchor=(0.5, -0.08),
        )  # fmt: skip
        yield svg(figure)


def _picture(mapping: NetworkMapping, crossbar: int, hues: NDArray) -> NDArray[np.uint8]:
    """Pixels (rows, columns, 3) of a crossbar; blocks side by side differ in brightness."""
    config = mapping.config
    pixels = np.full((config.rows, config.columns, 3), FREE, np.uint8)
    for hue, layer in zip(hues, mapping.layers.values(), strict=True):
        blocks = layer.occupancy(crossbar)
        for shade, brightness in enumerate((1.0, 0.86, 0.72)):
            pixels[(blocks >= 0) & (blocks % 3 == shade)] = (255 * hue * brightness).astype(
                np.uint8
            )
    return pixels
