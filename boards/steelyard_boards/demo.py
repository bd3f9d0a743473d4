"""Speed of the demo network on a configuration, from its shape alone.

The accelerator's time depends on shapes, zero points and the weights kept of each group, not on
their values, so a network of the demo's shape tells it without training, pruning or torch.
"""

import numpy as np

from steelyard.compile import compile as compile_program
from steelyard.compile.cycles import predict_program
from steelyard.contract import AcceleratorConfig
from steelyard.errors import UserError
from steelyard.network import Network, NetworkBuilder

__all__ = ["demo_cycles", "demo_network"]

PRUNED_GROUP = 16
DENSE = PRUNED_GROUP
KEPT = 4
"""Weights kept of a group: the demo's 75 %; its pruning moves one from a layer to another."""


def demo_network() -> Network:
    """Network of the demo's shape (`steelyard.zoo.models.fashion`), with arbitrary weights."""
    # A ReLU ends every layer, so its zero point is the least code.
    builder = NetworkBuilder("demo", (1, 28, 28), zero_point=-128)

    def convolve(
        source: str, channels: int, kept: int = KEPT, *, stride: int = 1, kernel: int = 3
    ) -> str:
        return builder.conv(
            _weight(channels, builder.tensors[source].shape[0], kernel, kept),
            source,
            name=f"layer{len(builder.layers)}",
            multiplier=1,
            shift=1,
            stride=stride,
            padding=kernel // 2,
            fully_connected=kernel == 1,
        )

    def residual(source: str, first_kept: int) -> str:
        channels = builder.tensors[source].shape[0]
        inner = convolve(convolve(source, channels, first_kept), channels)
        name = f"layer{len(builder.layers)}"
        return builder.add(inner, source, name=name, multipliers=(1 << 22, 1 << 22), shift=23)

    image = convolve("input", 16, DENSE)
    image = builder.max_pool(2, image, name="pool", stride=2)
    image = residual(convolve(image, 32, KEPT + 1), KEPT)
    image = residual(convolve(image, 64, stride=2), KEPT - 1)
    image = builder.avg_pool(None, image, name="mean", multiplier=1, shift=1)
    convolve(image, 10, DENSE, kernel=1)
    return builder.network()


def _weight(channels: int, inputs: int, kernel: int, kept: int) -> np.ndarray:
    """Weights of which the first `kept` of each group along (ky, kx, ic) are 1, the others 0."""
    positions = np.arange(kernel * kernel * inputs)
    row = positions % PRUNED_GROUP < kept
    flat = np.broadcast_to(row, (channels, row.size)).reshape(channels, kernel, kernel, inputs)
    return np.ascontiguousarray(flat.transpose(0, 3, 1, 2), np.int8)


def demo_cycles(config: AcceleratorConfig) -> int | None:
    """Cycles of one image of the demo network, None if the configuration cannot run it.

    Of a crossbar tile the most that they can be: steps without an input bit are skipped.
    """
    try:
        program = compile_program(demo_network(), config)
    except UserError:
        return None
    return predict_program(program)
