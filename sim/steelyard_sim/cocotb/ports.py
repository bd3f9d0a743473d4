"""Drivers of the gateware's ports for testbenches that run under cocotb.

Inputs change at the falling edge of the clock and outputs are looked at once they have settled
after it, so that every simulator sees the same transfers at the next rising edge.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly

from ..cases.array import ArrayCase, BeatChecker, BeatTaker, WindowFeeder, layer_bits
from ..cases.tile import CrossbarTileCase

__all__ = ["ArrayBench", "EngineBench", "HostBench", "StreamSink", "StreamSource", "begin"]

PATIENCE = 20_000
"""Cycles without progress after which a testbench gives up."""
EVENTS = ("issue", "stall_load", "stall_weights", "stall_drain")


async def begin(dut: Any, inputs: Iterable[str]) -> None:
    """Start the clock, hold the named inputs at zero and reset for four cycles."""
    for name in inputs:
        getattr(dut, name).value = 0
    dut.rst.value = 1
    Clock(dut.clk, 10, unit="ns").start()
    await ClockCycles(dut.clk, 4)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


class StreamSource:
    """Sends ``items`` into a stream, with idle cycles before some of them.

    Parameters
    ----------
    dut : simulated design
    name : of the stream
    rng : seeded source of the stalls
    stall : probability of an idle cycle, 0 to less than 1
    """

    def __init__(self, dut: Any, name: str, rng: Random, stall: float) -> None:
        self.items: deque[int] = deque()
        self._clock = dut.clk
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._payload = getattr(dut, f"{name}__payload")
        self._rng, self._stall = rng, stall
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        offered = False
        while True:
            await FallingEdge(self._clock)
            if not offered:
                offered = bool(self.items) and self._rng.random() >= self._stall
                self._valid.value = int(offered)
                if offered:
                    self._payload.value = self.items[0]
            await ReadOnly()
            if offered and int(self._ready.value):
                self.items.popleft()
                offered = False


class StreamSink:
    """Receives a stream into ``items``, not ready in some cycles, and watches its contract.

    Parameters are those of :class:`StreamSource`.

    Raises
    ------
    AssertionError
        In the simulation's run, if ``valid`` falls or the payload changes before ``ready``.
    """

    def __init__(self, dut: Any, name: str, rng: Random, stall: float) -> None:
        self.items: list[int] = []
        self._name = name
        self._clock = dut.clk
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._payload = getattr(dut, f"{name}__payload")
        self._rng, self._stall = rng, stall
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        waiting: int | None = None
        while True:
            await FallingEdge(self._clock)
            ready = self._rng.random() >= self._stall
            self._ready.value = int(ready)
            await ReadOnly()
            valid = int(self._valid.value)
            payload = int(self._payload.value) if valid else None
            if waiting is not None and payload != waiting:
                raise AssertionError(
                    f"Stream {self._name!r} changed from {waiting:#x} to "
                    f"{'invalid' if payload is None else hex(payload)} before ready"
                )
            waiting = None if ready else payload
            if ready and payload is not None:
                self.items.append(payload)


class HostBench:
    """Accelerator with its two host streams.

    Parameters
    ----------
    dut : accelerator of :func:`steelyard_hw.verilog.convert`
    rng : seeded source of the stalls
    stall_in, stall_out : probabilities of an idle cycle, 0 to less than 1
    """

    def __init__(self, dut: Any, rng: Random, stall_in: float, stall_out: float) -> None:
        self._dut, self._rng = dut, rng
        self._stall_in, self._stall_out = stall_in, stall_out

    async def start(self) -> None:
        """Start the clock and reset the accelerator."""
        await begin(self._dut, ("i__valid", "i__payload", "o__ready"))
        seeds = Random(self._rng.random()), Random(self._rng.random())
        self._source = StreamSource(self._dut, "i", seeds[0], self._stall_in)
        self._sink = StreamSink(self._dut, "o", seeds[1], self._stall_out)

    async def exchange(self, words: Iterable[int], answers: int) -> list[int]:
        """Send words and return the next `answers` words.

        Raises
        ------
        AssertionError
            If nothing moves for :data:`PATIENCE` cycles, or more words come than were asked for.
        """
        self._sink.items.clear()
        self._source.items.extend(words)
        waited, left = 0, -1
        while self._source.items or len(self._sink.items) < answers:
            await ClockCycles(self._dut.clk, 100)
            now = len(self._source.items) - len(self._sink.items)
            waited, left = (waited + 100, left) if now == left else (0, now)
            if waited > PATIENCE:
                raise AssertionError(
                    f"Nothing moved for {PATIENCE} cycles: {len(self._source.items)} words were "
                    f"not taken, {len(self._sink.items)} of {answers} answers came"
                )
        await ClockCycles(self._dut.clk, 40)
        if len(self._sink.items) > answers:
            raise AssertionError(f"{len(self._sink.items)} words came where {answers} were asked")
        return list(self._sink.items)


class EngineBench(ABC):
    """Bare engine with its stream of weights, its window ring and its sums.

    Parameters
    ----------
    dut : engine of :func:`steelyard_hw.verilog.convert_component`, whose ports are flat

    Attributes
    ----------
    shares : whether taps can share words, so that the engine has the port `edges`
    late : whether it reads an item's payload in the next cycle, in its port `taken`
    """

    EDGES = ("edges__valid", "edges__slot", "edges__outside")
    INPUTS = (
        *("layer", "start", "weights__valid", "weights__payload"),
        *("word", "window_valid", "window_address", "group_loaded", "o_ready"),
    )

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self.shares = hasattr(dut, "edges__valid")
        self.late = hasattr(dut, "taken")

    @abstractmethod
    def _ready(self, waited: int) -> bool:
        """Whether the output stage takes a beat in this cycle, if there is one.

        Parameters
        ----------
        waited : cycles for which the beat that is offered has waited
        """

    @abstractmethod
    def _look(self, beat: int | None) -> None:
        """Check a cycle's outputs; `beat` is what is taken, if anything."""

    async def _run_layer(
        self,
        case: ArrayCase | CrossbarTileCase,
        rng: Random,
        stall_weights: float,
        stall_windows: float,
    ) -> tuple[int, int, int]:
        """Reset the engine and run one layer.

        Returns
        -------
        cycles that issued, cycles before the end without an event, and weight items left over
        """
        dut = self._dut
        edges = self.EDGES if self.shares else ()
        await begin(dut, (*self.INPUTS, *edges, *(("taken",) if self.late else ())))
        dut.layer.value = layer_bits(case.config, case.layer)
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        outside = case.outside if isinstance(case, ArrayCase) and self.shares else ()
        feeder = WindowFeeder(case, Random(rng.random()), stall_windows, outside)
        source = StreamSource(dut, "weights", Random(rng.random()), stall_weights)
        source.items.extend(case.items)
        freed = quiet = idle = issued = silent = offered = 0
        waiting: int | None = None
        waited = 0
        while quiet < 20:
            valid, address, word, loaded = feeder.step(freed)
            dut.window_valid.value = valid
            dut.window_address.value = address
            dut.word.value = word
            dut.group_loaded.value = loaded
            if self.late:
                dut.taken.value = offered
            if outside:
                for name, value in zip(self.EDGES, feeder.edges, strict=True):
                    getattr(dut, name).value = value
            ready = self._ready(waited)
            dut.o_ready.value = int(ready)
            await ReadOnly()
            offered = int(dut.weights__payload.value)
            done, o_valid = int(dut.done.value), int(dut.o_valid.value)
            events = [int(getattr(dut, name).value) for name in EVENTS]
            if sum(events) > 1 - done:
                raise AssertionError(f"One of {EVENTS} may happen before the end, not {events}")
            silent += 1 - done - sum(events)
            freed = int(dut.group_free.value)
            beat = int(dut.o.value) if o_valid else None
            if waiting is not None and beat != waiting:
                raise AssertionError("The engine's output changed before it was taken")
            self._look(beat if ready else None)
            waiting, waited = (None, 0) if ready or beat is None else (beat, waited + 1)
            issued += events[0]
            quiet = quiet + 1 if done and not int(dut.busy.value) else 0
            idle = 0 if o_valid or events[0] or valid else idle + 1
            if idle > PATIENCE:
                raise AssertionError(
                    f"The engine hangs after {issued} cycles of work, "
                    f"{len(source.items)} of {len(case.items)} items not taken"
                )
            await FallingEdge(dut.clk)
        return issued, silent, len(source.items)


class ArrayBench(EngineBench):
    """Bare :class:`~steelyard_hw.array.array.SparseArray`."""

    async def run(
        self,
        case: ArrayCase,
        rng: Random,
        stall_weights: float,
        stall_windows: float,
        stall_drain: float,
    ) -> None:
        """Reset the array, run one layer and check everything that leaves it.

        Parameters
        ----------
        rng : seeded source of the stalls
        stall_weights, stall_windows, stall_drain : probabilities of an idle cycle, 0 to less than
            1; a beat waits for less than `requantizer_cycles`, as the array's schedule assumes

        Raises
        ------
        AssertionError
            If a beat is not the one expected, is missing, or the array hangs.
        """
        self._checker = BeatChecker(case)
        self._taker = BeatTaker(case.config, Random(rng.random()), stall_drain)
        issued, silent, _ = await self._run_layer(case, rng, stall_weights, stall_windows)
        if not self._checker.complete or issued != len(case.items):
            raise AssertionError(f"The array ended after {issued} of {len(case.items)} items")
        layer = case.layer
        # Without `carry_registers` each capture takes a cycle but the last, which nothing follows.
        captures = (layer.out_tiles * layer.chunks * layer.passes - 1) * (
            not case.config.engine.carry_registers
        )
        if silent != captures:
            raise AssertionError(f"{silent} cycles pass without one of {EVENTS}, not {captures}")

    def _ready(self, waited: int) -> bool:
        return self._taker.ready(waited)

    def _look(self, beat: int | None) -> None:
        self._checker.step(int(beat is not None), beat or 0)
