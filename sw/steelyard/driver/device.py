"""What all devices that run programs have in common."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..contract import AcceleratorConfig
from ..errors import UserError
from ..program import Program
from ..progress import Progress
from .external import LostWord
from .inputs import float_codes, int8_planes, real_output
from .throughput import Throughput, Traffic

if TYPE_CHECKING:
    from .forecast import Forecast
    from .selftest import SelfTest

__all__ = ["Device", "LayerCounters"]


@dataclass(frozen=True, kw_only=True)
class LayerCounters:
    """Counters of one layer in the last run, all its descriptors together.

    Members
    -------
    name : layer
    cycles : cycles from its start to its end
    issue : cycles in which the array multiplies
    stall_load, stall_weights, stall_drain : cycles that the array waits, by cause
    words_loaded : window or vector words that the loader made
    words_written : activation words written
    vector_operations : words through the vector unit
    units : those that only the engine has, such as
        :class:`~steelyard.engines.crossbar.UnitCounters`, zeros in a layer without weights; None
        for none
    """

    name: str
    cycles: int
    issue: int
    stall_load: int
    stall_weights: int
    stall_drain: int
    words_loaded: int
    words_written: int
    vector_operations: int
    units: Any = None


Outputs = dict[str, NDArray[np.int8]]
"""The network's outputs by name, int8 (images, channels, height, width)."""


class Device(ABC):
    """What the accelerator and the golden model share; use it as a context manager."""

    name: str = ""

    def __init__(self) -> None:
        self._program: Program | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def program(self) -> Program:
        """Loaded program.

        Raises
        ------
        UserError
            If there is none.
        """
        if self._program is None:
            raise UserError(f"Device {self.name!r} has no program; call load() first.")
        return self._program

    @property
    def traffic(self) -> Traffic | None:
        """What the last :meth:`infer` moved; None where nothing is moved or counted."""
        return None

    @property
    def throughput(self) -> Throughput | None:
        """Speed of the board from the last :meth:`infer`; None where nothing tells it."""
        return None

    def forecast(
        self, program: Program, images: int, *, verify: bool = False, check: bool = False
    ) -> "Forecast | None":
        """What a simulated board will take; None for a device whose time nobody need know.

        Parameters
        ----------
        program : to be loaded
        images : to be run
        verify : whether it will be read back
        check : whether all layers will be compared too

        Raises
        ------
        NoSuchDevice, WrongDevice, ConfigurationMismatch
            As :meth:`load`, for the device is opened.
        """
        return None

    @property
    def lost_words(self) -> tuple[LostWord, ...]:
        """Words of an external memory that runs found altered since the device was made.

        They are written anew, and the batch that met them is computed again.
        """
        return ()

    def holds(self, program: Program) -> bool:
        """Whether a program was loaded last, and nothing has failed since."""
        return self._program is program

    def load(self, program: Program | str | os.PathLike[str], *, verify: bool = False) -> None:
        """Take over a program, in place of an earlier one.

        Parameters
        ----------
        program : compiled network, or the path of its file
        verify : whether descriptors, parameters and weights are read back and compared

        Raises
        ------
        NoSuchDevice, WrongDevice, ConfigurationMismatch
            If the device cannot be opened, is no accelerator, or has another configuration.
        MemoryFault
            If other words come back than were written.
        """
        if isinstance(program, str | os.PathLike):
            program = Program.load(program)
        if not isinstance(program, Program):
            raise UserError(
                f"A device loads a program or the path of its file, not {type(program).__name__}; "
                "compile the network with steelyard.compile first."
            )
        # What is left of an earlier program after a failure is not known.
        self._program = None
        self._load(program, verify)
        self._program = program

    def selftest(
        self,
        configs: Sequence[AcceleratorConfig] = (),
        *,
        quick: bool = False,
        progress: Progress | None = None,
    ) -> "SelfTest":
        """Test identity, memories and computation; afterwards no program is loaded.

        Parameters
        ----------
        configs : configurations of which the accelerator has one, unless the device knows its own
        quick : whether to test the memories in some places only
        progress : called with steps done, steps in all, and the memory or ``network`` being tested

        Raises
        ------
        UserError
            If the device has nothing to test.
        WrongDevice, ConfigurationMismatch
            If the other end is no accelerator, or its configuration is not known.
        DeviceTimeout, LinkError
            If it does not answer.
        """
        raise UserError(f"Device {self.name!r} has no memories to test; use one that has.")

    def infer(self, x: ArrayLike, *, progress: Progress | None = None) -> NDArray[np.int8]:
        """Output of the network, the first of several, int8 (images, channels, height, width).

        Parameters
        ----------
        x : int8 (images, channels, height, width), codes of the network's input
        progress : called with images done, images in all, and ``images``

        Raises
        ------
        BadInput
            If `x` has the wrong shape or type.
        DeviceTimeout
            If the device does not answer.
        """
        return self._infer(self.check_input(x), progress)[self.program.network.output]

    def infer_outputs(self, x: ArrayLike, *, progress: Progress | None = None) -> Outputs:
        """All outputs of the network by name, each as :meth:`infer` gives the first.

        Parameters
        ----------
        x, progress : as of :meth:`infer`

        Raises
        ------
        BadInput
            If `x` has the wrong shape or type.
        DeviceTimeout
            If the device does not answer.
        """
        return self._infer(self.check_input(x), progress)

    def _infer(self, x: NDArray[np.int8], progress: Progress | None) -> Outputs:
        """Outputs for images that were checked."""
        results = self._empty_outputs(len(x))
        for first, batch in self.batches(x):
            last = min(first + len(batch), len(x))
            for name, values in self._run_batch(batch).items():
                results[name][first:last] = values[: last - first]
            if progress is not None:
                progress(last, len(x), "images")
        return results

    def _empty_outputs(self, images: int) -> Outputs:
        network = self.program.network
        shapes = {name: network.tensor(name).shape for name in network.outputs}
        return {name: np.empty((images, *shape), np.int8) for name, shape in shapes.items()}

    def infer_float(self, x: ArrayLike, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Output in real units, float32 (images, ...) in the shape that the network's graph gives.

        Parameters
        ----------
        x : finite images in the network's input units, floating point (images, channels, height,
            width) or the shape in which the network's graph takes them; an array, torch tensor or
            nested list
        progress : called with images done, images in all, and ``images``

        Raises
        ------
        BadInput
            If `x` is not floating point, holds NaN or infinite values, or has the wrong shape.
        """
        network = self.program.network
        codes = float_codes(network, x)
        return real_output(network, self.infer(codes, progress=progress))

    def check_input(self, x: ArrayLike) -> NDArray[np.int8]:
        """Images as int8 (images, channels, height, width) codes of the network's input.

        Raises
        ------
        BadInput
            If they are not int8 or of another shape; says what was given and what is needed.
        """
        return int8_planes(self.program.network, x)

    def batches(self, x: NDArray[np.int8]) -> Iterator[tuple[int, NDArray[np.int8]]]:
        """First image's index and the images of every batch; the last repeats its last image."""
        size = self.program.batch
        for first in range(0, len(x), size):
            part = x[first : first + size]
            yield first, np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])

    @abstractmethod
    def _load(self, program: Program, verify: bool) -> None: ...

    @abstractmethod
    def _run_batch(self, x: NDArray[np.int8]) -> Outputs:
        """Outputs of one whole batch."""

    def write_input(self, x: NDArray[np.int8]) -> None:
        """Give the network's input, int8 (batch, channels, height, width).

        Raises
        ------
        BadInput
            If `x` has the wrong shape or type.
        """
        self._write_input(self.check_input(x))

    @abstractmethod
    def _write_input(self, x: NDArray[np.int8]) -> None:
        """Give an input that was checked."""

    @abstractmethod
    def run_layers(self, first: int, count: int) -> None:
        """Run `count` layers from index `first` on, on what the memories hold."""

    @abstractmethod
    def read_tensor(self, layer: int) -> NDArray[np.int8]:
        """Output of the layer of an index, int8 (batch, channels, height, width).

        Holds until a later layer reuses its place.

        Raises
        ------
        UserError
            If a later layer was computed along and only its output is stored.
        """

    @abstractmethod
    def read_outputs(self) -> Outputs:
        """Outputs of the network after its last layer."""

    def read_output(self) -> NDArray[np.int8]:
        """Output after the last layer, the first of several, int8 (batch, channels, ...)."""
        return self.read_outputs()[self.program.network.output]

    @abstractmethod
    def counters(self) -> list[LayerCounters]:
        """Counters of the layers of the last run; empty where nothing counts."""

    @property
    @abstractmethod
    def cycles(self) -> int | None:
        """Cycles of the last run, or None where nothing counts."""

    @abstractmethod
    def close(self) -> None:
        """Give the device back. May be called again."""
