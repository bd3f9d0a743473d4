"""Devices that run programs: an accelerator behind a transport, and the golden model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .. import golden
from ..config import ArrayConfig
from ..errors import UserError
from ..program import Plane, Program
from .errors import BadInput, DeviceTimeout, LinkError
from .port import COUNTERS, HostPort, Space
from .transport import Progress, Transport, TransportFactory

__all__ = ["ArrayDevice", "Device", "GoldenDevice", "LayerCounters"]

TIMEOUT_SECONDS = 600.0


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

    def load(self, program: Program) -> None:
        """Take over a program, in place of an earlier one.

        Raises
        ------
        NoSuchDevice, WrongDevice, ConfigurationMismatch
            If the device cannot be opened, is no accelerator, or has another configuration.
        """
        # What is left of an earlier program after a failure is not known.
        self._program = None
        self._load(program)
        self._program = program

    def infer(
        self, x: NDArray[np.int8], *, progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.int8]:
        """Output of the network, int8 (images, channels, height, width).

        Parameters
        ----------
        x : int8 (images, channels, height, width), codes of the network's input
        progress : called with images done and images in all

        Raises
        ------
        BadInput
            If `x` has the wrong shape or type.
        DeviceTimeout
            If the device does not answer.
        """
        self.check_input(x)
        network = self.program.network
        result = np.empty((len(x), *network.tensor(network.output).shape), np.int8)
        for first, batch in self.batches(x):
            last = min(first + len(batch), len(x))
            result[first:last] = self._run_batch(batch)[: last - first]
            if progress is not None:
                progress(last, len(x))
        return result

    def infer_float(
        self, x: NDArray[np.floating], *, progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32]:
        """Output in real units, float32, of images float (images, channels, height, width).

        Raises
        ------
        BadInput
            If `x` is not floating point, holds NaN, or has the wrong shape.
        """
        if not np.issubdtype(x.dtype, np.floating):
            raise BadInput(
                f"Images in real units must be floating point, not {x.dtype}; convert them."
            )
        if np.isnan(x).any():
            raise BadInput("Images must be numbers, and some values are NaN; replace them.")
        network = self.program.network
        self._check_shape(x.shape)
        codes = network.tensor(network.input).quantize(x)
        return network.tensor(network.output).dequantize(self.infer(codes, progress=progress))

    def check_input(self, x: NDArray[np.int8]) -> None:
        """Refuse images that are not int8 of the network's input shape.

        Raises
        ------
        BadInput
            Says what was given and what is needed.
        """
        if x.dtype != np.int8:
            raise BadInput(
                f"Images must be int8 codes, not {x.dtype}; use infer_float for real units."
            )
        self._check_shape(x.shape)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        expected = self.program.input.shape
        if len(shape) != 4 or shape[1:] != expected:
            sizes = ", ".join(map(str, expected))
            raise BadInput(
                f"Images must have the shape (images, {sizes}), not {shape}; reshape them."
            )
        if not shape[0]:
            raise BadInput("Images are needed, and the array holds none; give at least one.")

    def batches(self, x: NDArray[np.int8]) -> Iterator[tuple[int, NDArray[np.int8]]]:
        """First image's index and the images of every batch; the last repeats its last image."""
        size = self.program.batch
        for first in range(0, len(x), size):
            part = x[first : first + size]
            yield first, np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])

    @abstractmethod
    def _load(self, program: Program) -> None: ...

    @abstractmethod
    def _run_batch(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        """Output of one whole batch, int8 (batch, channels, height, width)."""

    @abstractmethod
    def write_input(self, x: NDArray[np.int8]) -> None:
        """Give the network's input, int8 (batch, channels, height, width)."""

    @abstractmethod
    def run_layers(self, first: int, count: int) -> None:
        """Run `count` layers from index `first` on, on what the memories hold."""

    @abstractmethod
    def read_tensor(self, layer: int) -> NDArray[np.int8]:
        """Output of the layer of an index, int8 (batch, channels, height, width).

        Holds until a later layer reuses its place.
        """

    @abstractmethod
    def read_output(self) -> NDArray[np.int8]:
        """Output of the network after its last layer, int8 (batch, channels, height, width)."""

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


class ArrayDevice(Device):
    """Accelerator behind a transport, which is opened when its configuration is known.

    Parameters
    ----------
    name : device name for messages
    factory : opens the transport
    address : what the factory gets
    config : the accelerator's configuration if known; otherwise a program's, when it is loaded
    timeout : seconds that one command may take
    progress : called with what takes time, in words
    """

    def __init__(
        self,
        name: str,
        factory: TransportFactory,
        address: str = "",
        *,
        config: ArrayConfig | None = None,
        timeout: float = TIMEOUT_SECONDS,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self._factory = factory
        self._address = address
        self._fixed = config
        self._timeout = timeout
        self._progress = progress
        self._transport: Transport | None = None
        self._port: HostPort | None = None
        self._opened: ArrayConfig | None = None
        self._ran: range = range(0)

    def _open(self, config: ArrayConfig) -> HostPort:
        if self._port is None or (self._fixed is None and self._opened != config):
            self.close()
            self._transport = self._factory(self._address, config, self._progress)
            self._port = HostPort(self._transport, self._timeout)
            self._opened = config
        return self._port

    def _active(self) -> tuple[HostPort, Program]:
        program = self.program
        if self._port is None:
            raise UserError(f"Device {self.name!r} is closed; load the program again.")
        return self._port, program

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """Close after a failure: the accelerator may wait in the middle of a command."""
        try:
            yield
        except (DeviceTimeout, LinkError, KeyboardInterrupt):
            self.close()
            raise

    def _load(self, program: Program) -> None:
        with self._closing():
            port = self._open(self._fixed or program.config)
            port.check(program.config, self._opened)
            for space, words in self._memories(program):
                port.write(space, 0, words)
        self._ran = range(0)

    @staticmethod
    def _memories(program: Program) -> list[tuple[Space, NDArray[np.uint32]]]:
        return [
            (Space.DESCRIPTORS, program.descriptors),
            (Space.PARAMETERS, program.parameters),
            (Space.WEIGHTS, program.weights),
        ]

    def verify(self) -> bool:
        """Whether descriptors, parameters and weights read back are those of the program."""
        port, program = self._active()
        with self._closing():
            return all(
                np.array_equal(port.read(space, 0, words.size), words.reshape(-1))
                for space, words in self._memories(program)
            )

    @property
    def statistics(self) -> object | None:
        """What the link has moved, for transports that count it, else None."""
        return getattr(self._transport, "statistics", None)

    def _run_batch(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        port, program = self._active()
        # The answer to a READ comes when the accelerator is idle: nobody need ask whether it is.
        with self._closing():
            port.write(Space.ACTIVATIONS, program.input.base, program.pack_activations(x))
            port.start(0, len(program.descriptors))
            self._ran = range(len(program.layers))
            return self._read(program.output)

    def write_input(self, x: NDArray[np.int8]) -> None:
        port, program = self._active()
        self.check_input(x)
        with self._closing():
            port.write(Space.ACTIVATIONS, program.input.base, program.pack_activations(x))

    def run_layers(self, first: int, count: int) -> None:
        port, program = self._active()
        entries = program.layers[first : first + count]
        if not entries:
            return
        begin, end = entries[0].first, entries[-1].first + entries[-1].count
        with self._closing():
            port.run(begin, end - begin)
        self._ran = range(first, first + len(entries))

    def read_tensor(self, layer: int) -> NDArray[np.int8]:
        return self._read(self.program.layers[layer].output)

    def read_output(self) -> NDArray[np.int8]:
        return self._read(self.program.output)

    def _read(self, plane: Plane) -> NDArray[np.int8]:
        port, program = self._active()
        count = plane.words * program.config.activation_item_words
        with self._closing():
            words = port.read(Space.ACTIVATIONS, plane.base, count)
        return program.unpack_activations(words, plane.shape)

    def counters(self) -> list[LayerCounters]:
        port, program = self._active()
        result = []
        for index in self._ran:
            entry = program.layers[index]
            with self._closing():
                words = port.read(Space.COUNTERS, entry.first * COUNTERS, entry.count * COUNTERS)
            total = words.reshape(-1, COUNTERS).astype(np.int64).sum(axis=0).tolist()
            result.append(
                LayerCounters(
                    name=entry.name,
                    cycles=total[0],
                    issue=total[1],
                    stall_load=total[2],
                    stall_weights=total[3],
                    stall_drain=total[4],
                    words_loaded=total[5],
                    words_written=total[6],
                    vector_operations=total[7],
                )
            )
        return result

    @property
    def cycles(self) -> int | None:
        port, _ = self._active()
        if not self._ran:
            return None
        with self._closing():
            return port.total_cycles()

    def close(self) -> None:
        transport, self._transport, self._port = self._transport, None, None
        if transport is not None:
            transport.close()


class GoldenDevice(Device):
    """Golden model behind the interface of an accelerator; it counts no cycles."""

    name = "golden"

    def __init__(self) -> None:
        super().__init__()
        self._tensors: dict[str, NDArray[np.int8]] = {}

    def _load(self, program: Program) -> None:
        self._tensors = {}

    def _run_batch(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        return golden.run(self.program.network, x)

    def infer(
        self, x: NDArray[np.int8], *, progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.int8]:
        self.check_input(x)
        done = 0

        def report(images: int) -> None:
            nonlocal done
            done += images
            if progress is not None:
                progress(done, len(x))

        return golden.run(self.program.network, x, progress=report)

    def write_input(self, x: NDArray[np.int8]) -> None:
        self.check_input(x)
        self._tensors[self.program.network.input] = x

    def run_layers(self, first: int, count: int) -> None:
        network = self.program.network
        for layer in network.layers[first : first + count]:
            inputs = [self._tensor(name) for name in layer.inputs]
            self._tensors[layer.output] = golden.layer(network, layer, *inputs)

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
