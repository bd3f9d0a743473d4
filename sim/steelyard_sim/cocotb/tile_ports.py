"""Driver of the bare crossbar tile's ports for testbenches that run under cocotb."""

from random import Random

from steelyard_hw.crossbar.counters import UnitEvent

from ..cases.tile import CrossbarTileCase, CrossbarTileChecker
from .ports import EngineBench

__all__ = ["CrossbarTilePorts"]


class CrossbarTilePorts(EngineBench):
    """Bare :class:`~steelyard_hw.crossbar.tile.CrossbarTile`."""

    async def run(
        self,
        case: CrossbarTileCase,
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
        self._rng, self._stall = Random(rng.random()), stall_drain
        self._checker, self._counts = CrossbarTileChecker(case), _Counts(case)
        _, silent, left = await self._run_layer(case, rng, stall_weights, stall_windows)
        if not self._checker.complete or left:
            raise AssertionError(f"The tile ended with {left} items not taken")
        if silent:
            raise AssertionError(f"{silent} cycles of the tile pass without an event")
        if self._counts.total != list(case.counts):
            raise AssertionError(f"The tile counts {self._counts.total} instead of {case.counts}")

    def _ready(self, waited: int) -> bool:
        return self._rng.random() >= self._stall

    def _look(self, beat: int | None) -> None:
        if beat is not None:
            self._checker.step(beat)
        self._counts.step(int(self._dut.event.value))


class _Counts:
    """Sums of the events of operation units, as the accelerator's counters make them."""

    def __init__(self, case: CrossbarTileCase) -> None:
        self._layout = UnitEvent(case.config)
        self._steps = case.config.engine.crossbar.steps
        self._dynamic = case.config.engine.crossbar.dynamic
        self._stops = case.config.engine.crossbar.adc_resolve == "reach"
        self.total = [0] * len(case.counts)

    def step(self, bits: int) -> None:
        """Add the event of a cycle."""
        event = self._layout.from_bits(bits)
        if not event.valid:
            return
        all_steps = event.lanes * self._steps
        if self._dynamic:
            steps, drives, all_steps = event.formed, event.live, all_steps * event.begins
        else:
            steps, drives = event.pairs, event.pairs * event.rows
        amounts = [
            steps * event.units,
            (all_steps - steps) * event.units,
            steps * event.columns,
            drives * event.units,
            drives * event.columns,
        ]
        if self._stops:
            amounts[2] = steps * event.converted
            amounts.append(steps * (event.columns - event.converted))
            amounts.append(steps * event.decisions)
        self.total = [total + amount for total, amount in zip(self.total, amounts, strict=True)]
