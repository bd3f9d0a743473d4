"""The golden model as a device."""

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..network import Conv, golden
from ..program import Program
from ..progress import Progress
from .device import Device, LayerCounters

__all__ = ["GoldenDevice"]


class GoldenDevice(Device):
    """Golden model behind the interface of an accelerator; it counts no cycles."""

    name = "golden"

    def __init__(self) -> None:
        super().__init__()
        self._tensors: dict[str, NDArray[np.int8]] = {}

    def _load(self, program: Program, verify: bool) -> None:
        self._tensors = {}

    def _run_batch(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        return self._output(x)

    def _output(self, x: NDArray[np.int8], progress: Progress | None = None) -> NDArray[np.int8]:
        network = self.program.network
        if self.program.engine.integer:
            return golden.run(network, x, progress=progress)
        output = self.program.golden(x)[network.output]
        if progress is not None:
            progress(len(x), len(x), "images")
        return output

    def _infer(self, x: NDArray[np.int8], progress: Progress | None) -> NDArray[np.int8]:
        return self._output(x, progress)

    def _write_input(self, x: NDArray[np.int8]) -> None:
        self._tensors[self.program.network.input] = x

    def run_layers(self, first: int, count: int) -> None:
        network = self.program.network
        for layer in network.layers[first : first + count]:
            inputs = [self._tensor(name) for name in layer.inputs]
            if isinstance(layer, Conv):
                output = self.program.engine.golden_layer(self.program, layer, inputs[0])
            else:
                output = golden.layer(network, layer, *inputs)
            self._tensors[layer.output] = output

    def _tensor(self, name: str) -> NDArray[np.int8]:
        if name not in self._tensors:
            raise UserError(
                f"Tensor {name!r} was not computed yet; run the layers before it first."
            )
        return self._tensors[name]

    def read_tensor(self, layer: int) -> NDArray[np.int8]:
        return self._tensor(self.program.network.layers[layer].output)

    def read_output(self) -> NDArray[np.int8]:
        return self._tensor(self.program.network.output)

    def counters(self) -> list[LayerCounters]:
        return []

    @property
    def cycles(self) -> int | None:
        return None

    def close(self) -> None:
        self._tensors = {}
