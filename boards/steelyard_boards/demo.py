"""Speed of the demo network on a configuration, from its shape alone.

The accelerator's time depends on shapes and on the weights kept of each group, not on their values,
so a network of the demo's shape tells it without training, pruning or torch.
"""

import numpy as np

from steelyard.compile import compile as compile_program
from steelyard.compile.cycles import predict_program
from steelyard.contract.accelerator import ArrayConfig
from steelyard.errors import UserError
from steelyard.network import Add, AvgPool, Conv, Layer, MaxPool, Network, Tensor

__all__ = ["demo_cycles", "demo_network"]

PRUNED_GROUP = 16
DENSE = PRUNED_GROUP
KEPT = 4
"""Weights kept of a group: the demo's 75 %; its pruning moves one from a layer to another."""


def demo_network() -> Network:
    """Network of the demo's shape (`steelyard.zoo.models.fashion`), with arbitrary weights."""
    tensors = {"input": Tensor("input", (1, 28, 28), 1.0, 0)}
    layers: list[Layer] = []

    def add(layer: Layer, shape: tuple[int, int, int]) -> str:
        tensors[layer.output] = Tensor(layer.output, shape, 1.0, 0)
        layers.append(layer)
        return layer.output

    def convolve(
        source: str, channels: int, kept: int = KEPT, *, stride: int = 1, kernel: int = 3
    ) -> str:
        inputs, height, width = tensors[source].shape
        name = f"layer{len(layers)}"
        border = kernel // 2
        return add(
            Conv(
                name=name,
                inputs=(source,),
                output=name,
                weight=_weight(channels, inputs, kernel, kept),
                bias=np.zeros(channels, np.int32),
                multiplier=np.ones(channels, np.int32),
                shift=np.ones(channels, np.int32),
                stride=stride,
                padding=(border,) * 4,
                fully_connected=kernel == 1,
            ),
            (channels, -(-height // stride), -(-width // stride)),
        )

    def residual(source: str, first_kept: int) -> str:
        channels = tensors[source].shape[0]
        inner = convolve(convolve(source, channels, first_kept), channels)
        name = f"layer{len(layers)}"
        sizes = {"multiplier_a": 1, "multiplier_b": 1, "shift": 1}
        layer = Add(name=name, inputs=(inner, source), output=name, **sizes)
        return add(layer, tensors[inner].shape)

    image = convolve("input", 16, DENSE)
    image = add(
        MaxPool(name="pool", inputs=(image,), output="pool", kernel=(2, 2), stride=2), (16, 14, 14)
    )
    image = residual(convolve(image, 32, KEPT + 1), KEPT)
    image = residual(convolve(image, 64, stride=2), KEPT - 1)
    mean = AvgPool(
        name="mean", inputs=(image,), output="mean", kernel=(7, 7), multiplier=1, shift=1
    )
    output = convolve(add(mean, (64, 1, 1)), 10, DENSE, kernel=1)
    return Network("demo", "input", output, tensors, tuple(layers))


def _weight(channels: int, inputs: int, kernel: int, kept: int) -> np.ndarray:
    """Weights of which the first `kept` of each group along (ky, kx, ic) are 1, the others 0."""
    positions = np.arange(kernel * kernel * inputs)
    row = positions % PRUNED_GROUP < kept
    flat = np.broadcast_to(row, (channels, row.size)).reshape(channels, kernel, kernel, inputs)
    return np.ascontiguousarray(flat.transpose(0, 3, 1, 2), np.int8)


def demo_cycles(config: ArrayConfig) -> int | None:
    """Cycles of one image of the demo network, None if the configuration cannot run it.

    Of a crossbar tile the most that they can be: steps without an input bit are skipped.
    """
    try:
        program = compile_program(demo_network(), config)
    except UserError:
        return None
    return predict_program(program)
