"""An accelerator behind a transport as a device."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compile.cycles import run_cycles
from ..contract import AcceleratorConfig
from ..contract.registers import COUNTERS, Space
from ..errors import UserError
from ..program import Plane, Program, moved_crc
from ..progress import Log, Progress
from .device import Device, LayerCounters, Outputs
from .errors import ConfigurationMismatch, DeviceTimeout, LinkError, MemoryFault
from .external import LostWord, ReadLatency, find_read_latency, rewrite
from .forecast import Forecast, predict_line
from .link import LinkStatistics
from .port import HostPort, descriptors_around, inference_words, memories
from .selftest import SelfTest, Step, run_selftest
from .throughput import Meter, Throughput, Traffic, predict
from .transport import (
    MeteredTransport,
    PostingTransport,
    SimulatedLine,
    Transport,
    TransportFactory,
)

__all__ = ["ArrayDevice"]

NAMED = 4
"""Words of external memory that a message names."""


class ArrayDevice(Device):
    """Accelerator behind a transport, which is opened when its configuration is known.

    Parameters
    ----------
    name : device name for messages
    factory : opens the transport
    address : what the factory gets
    config : the accelerator's configuration if known; otherwise a program's, when it is loaded
    timeout : seconds that one command may take; None for as long as its predicted cycles need
    log : called with what takes time, in words
    """

    def __init__(
        self,
        name: str,
        factory: TransportFactory,
        address: str = "",
        *,
        config: AcceleratorConfig | None = None,
        timeout: float | None = None,
        log: Log | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self._factory = factory
        self._address = address
        self._fixed = config
        self._timeout = timeout
        self._log = log
        self._transport: Transport | None = None
        self._port: HostPort | None = None
        self._opened: AcceleratorConfig | None = None
        self._ran: range = range(0)
        self._next: int | None = None
        self._traffic: Traffic | None = None
        self._read_latency: ReadLatency | None = None
        self._lost: list[LostWord] = []
        self._moved: dict[tuple[int, int], int] = {}

    def _open(self, config: AcceleratorConfig | None) -> HostPort:
        if self._port is None or (self._fixed is None and self._opened != config):
            self.close()
            self._transport = self._factory(self._address, config, self._log)
            self._port = HostPort(self._transport, self._timeout)
            self._read_latency = None
            self._opened = getattr(self._transport, "board_config", config)
        return self._port

    def _active(self) -> tuple[HostPort, Program]:
        program = self.program
        if self._port is None:
            raise UserError(f"Device {self.name!r} is closed; load the program again.")
        return self._port, program

    def holds(self, program: Program) -> bool:
        return self._port is not None and super().holds(program)

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """Close after a failure: the accelerator may wait in the middle of a command."""
        try:
            yield
        except (DeviceTimeout, LinkError, KeyboardInterrupt):
            self.close()
            raise

    def _load(self, program: Program, verify: bool) -> None:
        with self._closing():
            port = self._open(self._fixed or program.config)
            port.check(program.config, self._opened)
            if program.uses_external and self._read_latency is None:
                self._read_latency = find_read_latency(port, program.config.memory.external_words)
            for space, words in memories(program):
                port.fill(space, words)
            port.finish()
            found = self._altered(port, program) if verify else None
        if found is not None:
            raise MemoryFault(f"Device {self.name!r} gives back other words: {found}.")
        self._ran, self._next = range(0), 0
        self._moved.clear()

    def forecast(
        self, program: Program, images: int, *, verify: bool = False, check: bool = False
    ) -> Forecast | None:
        with self._closing():
            port = self._open(self._fixed or program.config)
            port.check(program.config, self._opened)
        line = self._transport
        if not isinstance(line, SimulatedLine):
            return None
        return predict_line(program, images, line, verify=verify, check=check)

    def selftest(
        self,
        configs: Sequence[AcceleratorConfig] = (),
        *,
        quick: bool = False,
        progress: Progress | None = None,
    ) -> SelfTest:
        loaded, self._program = self._program, None
        mine = (self._fixed, loaded.config if loaded else None)
        candidates = [*configs, *(config for config in mine if config is not None)]
        with self._closing():
            port = self._port or self._open(candidates[0] if candidates else None)
            start = time.monotonic()
            config = self._identified(port, candidates)
            text = f"configuration {config.hash().hex()[:16]}"
            identity = Step(name="identity", tested=text, seconds=time.monotonic() - start)
            result = run_selftest(self, port, config, quick=quick, progress=progress)
        result.steps.insert(0, identity)
        self._program = None
        return result

    def _identified(self, port: HostPort, candidates: list[AcceleratorConfig]) -> AcceleratorConfig:
        """That of the candidates, or of the transport's own configuration, which the hash is of."""
        found = port.identify()
        own = [self._opened] if self._opened is not None else []
        for config in (*own, *candidates):
            if config.hash() == found:
                self._opened = config
                return config
        raise ConfigurationMismatch(
            f"The accelerator's configuration has the hash {found.hex()[:16]}, none of the known "
            "ones has it; give the configuration that it was built with."
        )

    def _altered(self, port: HostPort, program: Program) -> str | None:
        """First word that reads back differently, in words."""
        for space, words in memories(program):
            expected = words.reshape(-1)
            different = np.flatnonzero(port.filled(space, expected.size) != expected)
            if different.size:
                return (
                    f"{different.size} of {expected.size} words of the {space.name.lower()} "
                    f"differ, the first is word {different[0]}"
                )
        return None

    def verify(self) -> bool:
        """Whether descriptors, parameters and weights read back are those of the program."""
        port, program = self._active()
        with self._closing():
            self._bring(0)
            return self._altered(port, program) is None

    def _bring(self, first: int) -> int:
        """Place of a descriptor, which is brought there if a run would not find it."""
        port, program = self._active()
        if program.in_turn and first != self._next:
            port.write(Space.DESCRIPTORS, 0, descriptors_around(program, first))
        self._next = None
        return first % program.config.memory.max_layers

    def _leave(self, end: int) -> None:
        """Note that a run has stopped before a descriptor."""
        self._next = end % len(self.program.descriptors)

    @property
    def lost_words(self) -> tuple[LostWord, ...]:
        return tuple(self._lost)

    def _as_written(self, first: int, count: int, crc: int) -> bool:
        """Whether the words that descriptors have moved had the CRC of those in the program."""
        key = first, count
        if key not in self._moved:
            self._moved[key] = moved_crc(self.program, first, count)
        return crc == self._moved[key]

    def _repair(self) -> None:
        """After a run that moved altered words: write those anew.

        Raises
        ------
        MemoryFault
            If the memory does not keep them.
        """
        port, program = self._active()
        with self._closing():
            lost = rewrite(port, program.external)
            left = rewrite(port, program.external) if lost else []
        self._lost += lost
        if self._log is not None:
            what = "; ".join(map(str, lost[:NAMED]))
            more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
            self._log(
                f"external memory: {what}{more}; written anew"
                if lost
                else "external memory: a run read other words than are read back now"
            )
        if left:
            raise MemoryFault(
                f"The external memory of device {self.name!r} does not keep what is written: "
                f"{left[0]}; test it with steelyard selftest."
            )

    @property
    def statistics(self) -> LinkStatistics | None:
        """What the link has moved since it was opened, for transports that count it, else None."""
        transport = self._transport
        return transport.statistics if isinstance(transport, MeteredTransport) else None

    @property
    def traffic(self) -> Traffic | None:
        return self._traffic

    @property
    def throughput(self) -> Throughput | None:
        transport, moved = self._transport, self._traffic
        if moved is None or not isinstance(transport, MeteredTransport) or not transport.clock_hz:
            return None
        cycles = self.cycles
        return predict(moved, transport, cycles, self.program.batch) if cycles else None

    def _infer(self, x: NDArray[np.int8], progress: Progress | None) -> Outputs:
        self._active()
        transport = self._transport
        meter = Meter(transport) if isinstance(transport, MeteredTransport) else None
        several = len(self.program.network.outputs) > 1 or len(x) <= self.program.batch
        if isinstance(transport, PostingTransport) and not several:
            result = self._infer_ahead(transport, x, progress)
        else:
            result = super()._infer(x, progress)
        if meter is not None:
            self._traffic = meter.traffic(len(x), -(-len(x) // self.program.batch))
        return result

    def _infer_ahead(
        self,
        transport: PostingTransport,
        x: NDArray[np.int8],
        progress: Progress | None,
    ) -> Outputs:
        """The one output of several batches, each sent while the one before is at work.

        The board executes the words in order, so an input is written when the output before it was
        read: no result depends on what is under way, wherever the planes lie.
        """
        port, program = self._active()
        network, plane = program.network, program.output
        count = plane.words * program.config.activation_item_words
        moved = bool(program.external.size)
        results = self._empty_outputs(len(x))
        result = results[network.output]
        under_way: deque[tuple[int, NDArray[np.int8], Any]] = deque()
        lost = []

        def keep(first: int, values: NDArray[np.int8]) -> None:
            last = min(first + program.batch, len(x))
            result[first:last] = values[: last - first]
            if progress is not None:
                progress(last, len(x), "images")

        def finish() -> None:
            first, batch, posted = under_way.popleft()
            words = transport.fetch(posted, port.timeout)
            crc = int(words[-1]) if words is not None and moved else 0
            if words is None or not self._as_written(0, len(program.descriptors), crc):
                lost.append((first, batch))
            else:
                keep(first, program.unpack_activations(words[:count], plane.shape))

        self._ran = range(len(program.layers))
        with self._closing():
            self._bring(0)
            for first, batch in self.batches(x):
                words = inference_words(
                    program.input,
                    program.pack_activations(batch),
                    len(program.descriptors),
                    plane,
                    count,
                    moved=moved,
                )
                # Where the next batch waits for the one before, two are at work meanwhile.
                with self._running(0, len(program.layers), 2 * (len(words) + count), runs=2):
                    posted = transport.post(words, count + moved, port.timeout)
                    under_way.append((first, batch, posted))
                    if len(under_way) > 1:
                        finish()
            while under_way:
                with self._running(0, len(program.layers), count):
                    finish()
        if not lost:
            self._leave(len(program.descriptors))
        for first, batch in lost:
            keep(first, self._run_batch(batch)[network.output])
        return results

    def _run_batch(self, x: NDArray[np.int8]) -> Outputs:
        port, program = self._active()
        # The answer to a READ comes when the accelerator is idle: nobody need ask whether it is.
        words = sum(plane.words for plane in program.outputs.values())
        words *= program.config.activation_item_words
        every = len(program.descriptors)
        for _ in range(2):
            with self._closing():
                port.write(program.input.space, program.input.base, program.pack_activations(x))
                self._bring(0)
                with self._running(0, len(program.layers), words):
                    port.start(0, every)
                    self._ran = range(len(program.layers))
                    outputs = self.read_outputs()
                    crc = port.moved_crc() if program.external.size else 0
            if self._as_written(0, every, crc):
                self._leave(every)
                return outputs
            self._repair()
        raise MemoryFault(
            f"The external memory of device {self.name!r} gave a batch other words than were "
            "written, twice; test it with steelyard selftest."
        )

    def _running(
        self, first: int, count: int, words: int, *, runs: int = 1
    ) -> AbstractContextManager[None]:
        """Context of a run of layers.

        Parameters
        ----------
        words : that travel meanwhile
        runs : how often the layers run
        """
        port, program = self._active()
        entries = program.layers[first : first + count]
        cycles = runs * run_cycles(entries, program.config)
        names = f"layer {entries[0].name!r}"
        if count > 1:
            names = f"layers {entries[0].name!r} to {entries[-1].name!r}"
        return port.running(cycles, words, names)

    def _write_input(self, x: NDArray[np.int8]) -> None:
        port, program = self._active()
        with self._closing():
            port.write(program.input.space, program.input.base, program.pack_activations(x))

    def run_layers(self, first: int, count: int) -> None:
        port, program = self._active()
        entries = program.layers[first : first + count]
        if not entries:
            return
        begin, end = entries[0].first, entries[-1].first + entries[-1].count
        # Layers without descriptors take no run: a START of none leaves the status as it was.
        if end > begin:
            with self._closing(), self._running(first, len(entries), 0):
                port.run(self._bring(begin), end - begin)
                crc = port.moved_crc() if program.external.size else 0
            if not self._as_written(begin, end - begin, crc):
                self._repair()
                raise MemoryFault(
                    f"Device {self.name!r} ran layer {entries[0].name!r} with words of external "
                    "memory that were not those of the program, which are written anew; run it "
                    "again."
                )
            self._leave(end)
        self._ran = range(first, first + len(entries))

    def read_tensor(self, layer: int) -> NDArray[np.int8]:
        entries = self.program.layers
        if not entries[layer].stored:
            later = [each for each in entries[layer:] if each.stored]
            along = [each for each in later if each.output == entries[layer].output]
            last = (along or later)[0]
            raise UserError(
                f"The output of layer {entries[layer].name!r} gets into no memory: it goes on at "
                f"once to layer {last.name!r}; read that layer's output."
            )
        return self._read(entries[layer].output)

    def read_outputs(self) -> Outputs:
        return {name: self._read(plane) for name, plane in self.program.outputs.items()}

    def _read(self, plane: Plane) -> NDArray[np.int8]:
        port, program = self._active()
        count = plane.words * program.config.activation_item_words
        with self._closing():
            words = port.read(plane.space, plane.base, count)
        return program.unpack_activations(words, plane.shape)

    def counters(self) -> list[LayerCounters]:
        port, program = self._active()
        result = []
        entries = [program.layers[index] for index in self._ran]
        if sum(entry.count for entry in entries) > program.config.memory.max_layers:
            # Those of later descriptors took the place of others.
            return []
        kind, size = program.engine.counters(program.config), program.config.memory.max_layers
        for entry in entries:
            with self._closing():
                place = entry.first % size, entry.count, size
                counts, units = port.counters(Space.COUNTERS, *place, COUNTERS), None
                if kind is not None:
                    names = [each.name for each in fields(kind)]
                    units = kind(**port.counters(Space.UNITS, *place, names))
            result.append(LayerCounters(name=entry.name, units=units, **counts))
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
        self._traffic = None
        if transport is not None:
            transport.close()
