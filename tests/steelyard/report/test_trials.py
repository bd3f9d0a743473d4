"""How much of the golden crossbars each point of accuracy takes: every image once, and nothing
where converters cannot change a sum. Seconds follow from it, and are in docs/notes/crossbar.md."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from steelyard.engines.crossbar import (
    CrossbarConfig,
    arithmetic,
    effect_levels,
    fit_converters,
    golden,
)
from steelyard.network import NetworkBuilder
from steelyard.report import compare_with_traditional, trials, under_converters, under_effects

CONFIG = CrossbarConfig(rows=72, columns=64)
SEED = 3
BITS = (3, 4, 8)
LEVELS = (1000, 20000, 50000)
SEEDS = (5, 6)
PIXELS = 6 * 5 + 1
"""Output pixels of an image, of both layers."""
IMAGES, BLOCK = 25, 10


def small():
    """Network of a convolution and a classifier, and images."""
    rng = np.random.default_rng(SEED)
    builder = NetworkBuilder("small", (2, 6, 5))
    builder.conv(rng.integers(-127, 128, (12, 2, 3, 3)).astype(np.int8), padding=1)
    builder.conv(rng.integers(-127, 128, (5, 12, 6, 5)).astype(np.int8))
    return builder.network(), rng.integers(-128, 128, (IMAGES, 2, 6, 5)).astype(np.int8)


@pytest.fixture
def taken(monkeypatch):
    """Output pixels that pass crossbars, and tables of conversions, by bits and faults."""
    found = {"pixels": Counter(), "tables": Counter(), "programmed": Counter()}

    class Counted(arithmetic.Crossbars):
        def __init__(self, mapping, effects=None, converter=None, analog=None):
            faults = None if effects is None else (effects.stuck_at_zero, effects.seed)
            self.point = converter.bits, faults
            found["programmed"][self.point] += 1
            super().__init__(mapping, effects, converter, analog)

        def accumulate(self, inputs):
            found["pixels"][self.point] += inputs.shape[1]
            return super().accumulate(inputs)

        def _table(self, levels):
            found["tables"][self.point] += 1
            return super()._table(levels)

    monkeypatch.setattr(golden, "Crossbars", Counted)
    monkeypatch.setattr(trials, "BLOCK", BLOCK)
    return found


def test_every_image_passes_the_crossbars_once_for_each_point(taken):
    network, codes = small()
    labels = np.zeros(len(codes), np.int64)
    found = compare_with_traditional(network, CONFIG, "traditional", codes)
    fitted = fit_converters(network, found.mapping, codes, BITS)
    widths = under_converters(found, BITS, codes, labels, fitted=fitted, workers=2)
    # Converters of 8 bits change nothing, so the integer network has their results.
    assert taken["pixels"] == dict.fromkeys([(3, None), (4, None)], PIXELS * IMAGES)
    levels = effect_levels({"stuck_at_zero": list(LEVELS)})
    own = [width.trial for width in widths]
    spreads = under_effects(
        found.network, own, levels, codes, labels, draws=len(SEEDS), seed=SEEDS[0], workers=2
    )
    drawn = list(product(BITS, product(LEVELS, SEEDS)))
    points = [*drawn, (3, None), (4, None)]
    assert taken["pixels"] == dict.fromkeys(points, PIXELS * IMAGES)
    blocks, layers = -(-IMAGES // BLOCK), len(found.mapping.layers)
    assert taken["programmed"] == dict.fromkeys(points, blocks * layers)
    # 18 rows are two runs of an operation unit; the classifier's few pixels need no tables, and
    # the widest converters neither.
    assert taken["tables"] == dict.fromkeys([p for p in points if p[0] < 8], blocks * 2)
    assert len(spreads) == len(BITS) * len(LEVELS)
    assert all(each.images == IMAGES for spread in spreads for each in spread.draws)
