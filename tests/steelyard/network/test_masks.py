"""N:M masks that other tools made: found, and run at the K that they allow."""

import numpy as np
import pytest

from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.network import NetworkBuilder, mask_of, mask_sentences

SEED = 11


def masked(shape: tuple[int, ...], n: int, m: int, axis: int = 1) -> np.ndarray:
    """Weights of which a random N of every M along an axis are not zero."""
    rng = np.random.default_rng(SEED)
    values = np.moveaxis(rng.integers(1, 100, shape), axis, -1)
    keys = rng.random(values.shape).reshape(*values.shape[:-1], -1, m)
    kept = (keys.argsort(-1).argsort(-1) < n).reshape(values.shape)
    return np.moveaxis(np.where(kept, values, 0), -1, axis).astype(np.int8)


def built(weight: np.ndarray, size: int, **more):
    groups = more.get("groups", 1)
    builder = NetworkBuilder("masked", (weight.shape[1] * groups, size, size))
    builder.conv(weight, name="conv", multiplier=3, shift=12, **more)
    return builder.network()


@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (3, 4), (1, 8), (4, 8)])
@pytest.mark.parametrize("channels", [8, 24, 64])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_mask_along_input_channels_runs_at_its_k(n, m, channels, kernel):
    network = built(masked((20, channels, kernel, kernel), n, m), 6)
    program = compile(network, configure())
    dense = compile(network, configure(), k="dense")
    # Taps of fewer channels than a group share one, whole blocks each.
    expected = 16 * n // m if channels * kernel * kernel >= 16 else channels * n // m
    assert program.layers[0].k == expected
    assert program.layers[0].predicted_cycles <= dense.layers[0].predicted_cycles
    reduced = {(2, 8): (1, 4), (4, 8): (2, 4)}.get((n, m), (n, m))
    (sentence,) = mask_sentences(network, {"conv": expected}, 16)
    assert sentence in {
        f"conv: {a}:{b} along input channels, K = {expected} of 16" for a, b in ((n, m), reduced)
    }


def test_a_mask_of_a_grouped_convolution_runs_at_its_k():
    network = built(masked((32, 16, 3, 3), 1, 4), 6, groups=4)
    assert compile(network, configure()).layers[0].k == 4


def test_a_fully_connected_layer_is_masked_along_the_channels_of_a_pixel():
    weight = masked((40, 32, 4, 4), 2, 4)
    builder = NetworkBuilder("fc", (32, 4, 4))
    builder.fully_connected(weight, name="fc", multiplier=3, shift=12)
    network = builder.network()
    program = compile(network, configure())
    assert program.layers[0].k == 8
    assert mask_sentences(network, {"fc": 8}, 16) == ["fc: 2:4 along input channels, K = 8 of 16"]


def test_a_mask_along_a_flattened_map_is_told_apart():
    flat = masked((40, 32 * 16), 2, 4)
    builder = NetworkBuilder("fc", (32, 4, 4))
    builder.fully_connected(flat, name="fc", multiplier=3, shift=12)
    network = builder.network()
    k = compile(network, configure()).layers[0].k
    assert k > 8
    (sentence,) = mask_sentences(network, {"fc": k}, 16)
    assert f"needs K = {k} of 16; masked along axis 1 of weight.reshape(40, 32, 4, 4)" in sentence
    assert sentence.endswith("it would be 8")


def test_weights_without_a_pattern_have_none():
    assert mask_of(np.ones((4, 8), np.int8)) is None
    assert mask_of(masked((4, 9), 1, 3)) is None, "4 and 8 do not divide 9"
    assert mask_of(np.zeros((4, 8), np.int8)) == (1, 8)
    balanced = built(masked((20, 32, 3, 3), 4, 16), 6)
    assert mask_sentences(balanced, {"conv": 4}, 16) == [], "groups of 4 of 16 are no mask"
    network = built(np.ones((8, 16, 3, 3), np.int8), 6)
    assert mask_sentences(network, {"conv": 16}, 16) == []
