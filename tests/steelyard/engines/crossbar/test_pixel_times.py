"""Time of single output pixels, against the counts of these pixels alone."""

import numpy as np
import pytest

from steelyard.cost import CONSTANTS, price_layer, step_times
from steelyard.engines.crossbar import CrossbarConfig, activity, count, map_network, pixel_times
from steelyard.engines.crossbar.golden import windows
from steelyard.network import NetworkBuilder, golden


@pytest.mark.parametrize("resolve", ["all", "reach"])
@pytest.mark.parametrize("mapping", ["traditional", "pattern", "mixed"])
def test_a_pixel_takes_as_long_as_its_slowest_crossbar(mapping, resolve):
    rng = np.random.default_rng(5)
    weight = rng.integers(-127, 128, (12, 6, 3, 3)) * (rng.random((12, 6, 1, 1)) < 0.6)
    builder = NetworkBuilder("one", (6, 5, 4), zero_point=-128)
    builder.conv(weight.astype(np.int8), padding=1)
    network = builder.network()
    config = CrossbarConfig(rows=18, columns=16, adc_resolve=resolve)
    mapped = map_network(network, config, mapping)
    (own,) = mapped.layers.values()
    assert own.crossbars > 1
    # Many zeros, so that pixels skip different steps.
    x = np.maximum(rng.integers(-228, 128, (3, 6, 5, 4)), -128).astype(np.int8)
    tensors = golden.run(network, x, trace=True)
    times = np.array([step_times(config, each) for each in CONSTANTS.values()])
    (found,) = pixel_times(network, mapped, tensors, times).values()
    assert found.shape == (len(CONSTANTS), 3, 20)
    ((_, inputs),) = windows(network, network.layers[0], x)
    for pixel in range(60):
        alone = count(own, inputs[:, pixel : pixel + 1])
        for constants, taken, spent in zip(CONSTANTS.values(), times, found, strict=True):
            slowest = (alone.slowest @ taken).max()
            assert spent.ravel()[pixel] == pytest.approx(slowest)
            assert price_layer(own, alone, constants).parallel_time == pytest.approx(slowest)
    # All pixels of a layer wait for no one crossbar: the busiest one is not the slowest each time.
    works = activity(network, mapped, tensors)
    for constants, spent in zip(CONSTANTS.values(), found, strict=True):
        assert price_layer(own, works[own.name], constants).parallel_time <= spent.sum() * 1.0000001
