"""TFLite networks on compiled gateware."""

import pytest

from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.importer import load
from tflite_cases import assorted
from tflite_models import mobilenet, planes

CONFIG = configure(
    "array", lanes=4, columns=4, window_groups=16, max_layers=256, requantizers=2,
    weight_words=16384, activation_words=16384, parameter_words=4096,
)  # fmt: skip
"""One of those in test_shapes.py, whose simulation serves both."""


@pytest.mark.parametrize(("make", "size"), [(mobilenet, 16), (assorted, 8)])
def test_every_layer_is_exact(make, size):
    net, content = make(5, size)
    network = load(content)
    x = planes(net.images(2), network.tensor(network.input).shape)
    with driver.open("sim", config=CONFIG) as device:
        assert driver.check_layers(compile(network, CONFIG, batch=2), x, device) is None
