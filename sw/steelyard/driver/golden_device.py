"""The golden model as a device."""

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..network import Conv, golden
from ..program import Program
from ..progress import Progress
from .device import Device, LayerCounters, Outputs

__all__ = ["GoldenDevice"]


class GoldenDevice(Device):
    """Golden model behind the interface of an accelerator; it counts no cycles."""

    name = "golden"

    def __init__(self) -> None:
        super().__init__()
        self._tensors: dict[str, NDArray[np.int8]] = {}

    def _load(self, program: Program, verify: bool) -> None:
        self._tensors = {}

    def _run_batch(self, x: NDArray[np.int8]) -> Outputs:
        return self._infer(x, None)

    def _infer(self, x: NDArray[np.int8], progress: Progress | None) -> Outputs:
        network = self.program.network
        if self.program.engine.integer and len(network.outputs) == 1:
            return {network.output: golden.run(network, x, progress=progress)}
        tensors = self.program.golden(x)
        if progress is not None:
            progress(len(x), len(x), "images")
        return {name: tensors[name] for name in network.outputs}

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

    def read_outputs(self) -> Outputs:
        return {name: self._tensor(name) for name in self.program.network.outputs}

    def counters(self) -> list[LayerCounters]:
        return []

    @property
    def cycles(self) -> int | None:
        return None

    def close(self) -> None:
        self._tensors = {}
