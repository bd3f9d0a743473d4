"""Driver of the bare crossbar tile's ports for testbenches that run under cocotb."""

from random import Random
from typing import Any

from cocotb.triggers import FallingEdge, ReadOnly

from steelyard_hw.crossbar_counters import UnitEvent

from .array_case import WindowFeeder, layer_bits
from .bench import EVENTS, PATIENCE, ArrayBench, StreamSource, begin
from .tile_case import TileCase, TileChecker

__all__ = ["TilePorts"]


class TilePorts:
    """Bare crossbar tile with its stream of weight items, its window ring and its sums.

    Parameters
    ----------
    dut : :class:`~steelyard_hw.crossbar.CrossbarTile` of
        :func:`steelyard_hw.verilog.convert_component`, whose ports are flat
    """

    INPUTS = (*ArrayBench.INPUTS, "o_ready")

    def __init__(self, dut: Any) -> None:
        self._dut = dut

    async def run(
        self,
        case: TileCase,
        rng: Random,
        stall_weights: float,
        stall_windows: float,
        stall_drain: float,
    ) -> None:
        """Reset the tile, run one layer and check its sums and what it counts.

        Parameters
        ----------
        rng : seeded source of the stalls
        stall_weights, stall_windows, stall_drain : probabilities of an idle cycle, 0 to less than 1

        Raises
        ------
        AssertionError
            If a beat or a count is not the one expected, a beat is missing, or the tile hangs.
        """
        dut = self._dut
        await begin(dut, self.INPUTS)
        dut.layer.value = layer_bits(case.config, case.layer)
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        feeder = WindowFeeder(case, Random(rng.random()), stall_windows)
        checker = TileChecker(case)
        source = StreamSource(dut, "weights", Random(rng.random()), stall_weights)
        source.items.extend(case.items)
        counts = _Counts(case)
        freed = quiet = idle = 0
        while quiet < 20:
            valid, address, word, loaded = feeder.step(freed)
            dut.window_valid.value = valid
            dut.window_address.value = address
            dut.word.value = word
            dut.group_loaded.value = loaded
            ready = rng.random() >= stall_drain
            dut.o_ready.value = ready
            await ReadOnly()
            done, o_valid = int(dut.done.value), int(dut.o_valid.value)
            events = [int(getattr(dut, name).value) for name in EVENTS]
            if sum(events) != 1 - done:
                raise AssertionError(f"One of {EVENTS} must happen in a cycle, not {events}")
            freed = int(dut.group_free.value)
            if o_valid and ready:
                checker.step(int(dut.o.value))
            counts.step(int(dut.event.value))
            quiet = quiet + 1 if done and not int(dut.busy.value) else 0
            idle = 0 if o_valid or events[0] or valid else idle + 1
            if idle > PATIENCE:
                raise AssertionError(f"The tile hangs with {len(source.items)} items not taken")
            await FallingEdge(dut.clk)
        if not checker.complete or source.items:
            raise AssertionError(f"The tile ended with {len(source.items)} items not taken")
        if counts.total != list(case.counts):
            raise AssertionError(f"The tile counts {counts.total} instead of {case.counts}")


class _Counts:
    """Sums of the events of operation units, as the accelerator's counters make them."""

    def __init__(self, case: TileCase) -> None:
        self._layout = UnitEvent(case.config)
        self._steps = case.config.crossbar.steps
        self.total = [0] * len(case.counts)

    def step(self, bits: int) -> None:
        """Add the event of a cycle."""
        event = self._layout.from_bits(bits)
        if not event.valid:
            return
        executed, drives = event.pairs * event.units, event.pairs * event.rows
        amounts = (
            executed,
            event.lanes * self._steps * event.units - executed,
            event.pairs * event.columns,
            drives * event.units,
            drives * event.columns,
        )
        self.total = [total + amount for total, amount in zip(self.total, amounts, strict=True)]
