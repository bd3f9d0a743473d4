"""Crossbar tile: emulates an RRAM crossbar, operation unit by operation unit, on all lanes."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..cells.target import Target
from ..engine import Engine
from ..lib.countdown import Countdown
from ..lib.delay import delay
from .bitlines import Bitlines
from .counters import UnitCounters, UnitEvent
from .gather import Gather
from .items import CellsItem
from .reaches import Reaches
from .sums import ChannelSums, Token

__all__ = ["CrossbarTile"]


class UnitIssue(wiring.Component):
    """Steps of one item of cells after the other, those left out in which no lane has a bit.

    A step a cycle, without a gap between items; one without steps takes a cycle. With dynamic
    formation a step takes two passes, a cycle each, but for the first rows of a block, and the last
    rows take the steps of all rows before them, in which some may wait. The last step
    waits until the sums have taken the products before, and, where new rows begin, until they are
    written: only there may an output channel come again.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    open : ``In(1)``
        Items may begin.
    start : ``In(1)``
    cells : ``In(stream.Signature(CellsItem))``
    new : ``In(1)``
        The item at `cells` is the first on new rows.
    full : ``In(1)``, steps : ``In(steps)``
        The new rows are complete; their steps.
    take : ``Out(1)``
        Strobe: they are in use from the next cycle on.
    fresh, second : ``Out(1)``
        Of a pass, with dynamic formation only; for :class:`.bitlines.Bitlines`.
    begins : ``Out(1)``
        Strobe: an item with weights begins in the next cycle.
    item : ``Out(CellsItem)``
        The one at work.
    step : ``Out(steps)``, valid, first, last : ``Out(1)``
        For :class:`.bitlines.Bitlines`.
    token : ``Out(Token)``
        With its last step.
    working, held : ``Out(1)``
        An item is at work; it waits for the sums.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        steps = config.engine.crossbar.steps
        super().__init__(
            {
                "open": In(1),
                "start": In(1),
                "cells": In(stream.Signature(CellsItem(config))),
                "new": In(1),
                "full": In(1),
                "steps": In(steps),
                "take": Out(1),
                **({"fresh": Out(1), "second": Out(1)} if config.engine.crossbar.dynamic else {}),
                "begins": Out(1),
                "item": Out(CellsItem(config)),
                "step": Out(steps),
                "valid": Out(1),
                "first": Out(1),
                "last": Out(1),
                "token": Out(Token(config)),
                "working": Out(1),
                "held": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        steps, dynamic = self._config.engine.crossbar.steps, self._config.engine.crossbar.dynamic
        load, finishes = Signal(), Signal()
        is_last, is_new, empty = Signal(), Signal(), Signal()
        rest = Signal(steps)
        run_steps = Signal(steps)
        all_steps, chosen = Signal(steps), Signal(steps)
        less = Signal(steps)
        item_steps, stays, ends = all_steps, self.held, less == 0
        if dynamic:
            again, once, earlier = self._passes(m, load, all_steps, empty)
            item_steps, stays = all_steps | earlier, self.held | again
            ends = (less == 0) & (once | (chosen == 0))
        m.d.comb += [
            self.held.eq(self.working & is_last & self._spacing(m, finishes & ~empty, is_new)),
            finishes.eq(self.working & is_last & ~self.held),
            load.eq(
                self.cells.valid
                & self.open
                & (~self.working | (finishes & ~self.item.last))
                & (~self.new | self.full)
            ),
            self.cells.ready.eq(load),
            self.take.eq(load & self.new),
            self.begins.eq(load & (self.cells.payload.count != 0)),
            all_steps.eq(Mux(self.new, self.steps, run_steps)),
            chosen.eq(Mux(load, Mux(self.begins, item_steps, 0), rest)),
            less.eq(chosen & (chosen - 1)),
            self.valid.eq(self.working & ~self.held & ~empty),
            self.last.eq(is_last),
            self.token.valid.eq(finishes & (~empty | self.item.last)),
            self.token.last.eq(self.item.last),
            self.token.count.eq(Mux(empty, 0, self.item.count)),
            self.token.channels.eq(self.item.channels),
        ]
        with m.If(load | ~stays):
            m.d.sync += [
                self.step.eq(chosen & ~less),
                rest.eq(less),
                is_last.eq(ends),
                self.first.eq(load),
            ]
        if dynamic:
            with m.If(load | ~self.held):
                m.d.sync += self.second.eq(again & ~load)
            with m.If(again):
                m.d.sync += [is_last.eq(rest == 0), self.first.eq(0)]
        with m.If(load):
            m.d.sync += [
                self.working.eq(1),
                self.item.eq(self.cells.payload),
                is_new.eq(self.new),
                empty.eq(chosen == 0),
                run_steps.eq(all_steps),
            ]
        with m.Elif(finishes):
            m.d.sync += self.working.eq(0)
        with m.If(self.start):
            m.d.sync += self.working.eq(0)
        return m

    def _passes(self, m, load, all_steps, empty):
        """Whether the present step is passed again, whether the next one only once, and the steps
        of the rows before an item that loads, if these end with it."""
        steps = self._config.engine.crossbar.steps
        payload = self.cells.payload
        touched, before, prior = Signal(steps), Signal(steps), Signal(steps)
        again, once, earlier = Signal(), Signal(), Signal(steps)
        m.d.comb += [
            before.eq(Mux(payload.begins, 0, touched)),
            earlier.eq(Mux(payload.ends, before, 0)),
            again.eq(self.working & ~self.item.begins & ~self.second & ~empty),
            once.eq(Mux(load, payload.begins, self.item.begins)),
            self.fresh.eq((self.step & prior) == 0),
        ]
        with m.If(load):
            m.d.sync += [touched.eq(before | all_steps), prior.eq(before)]
        return again, once, earlier

    def _spacing(self, m, finishes, is_new):
        """Whether the sums cannot take products yet, after those of the item that `finishes`."""
        more = ChannelSums.DISTANCE - 1
        busy = Signal(self._config.engine.count_bits)
        unwritten = Signal(range(2**self._config.engine.count_bits + more))
        with m.If(busy != 0):
            m.d.sync += busy.eq(busy - 1)
        with m.If(unwritten != 0):
            m.d.sync += unwritten.eq(unwritten - 1)
        with m.If(finishes):
            m.d.sync += [
                busy.eq(self.item.count - 1),
                unwritten.eq(self.item.count + (more - 1)),
            ]
        return (busy != 0) | (is_new & (unwritten != 0))


class CrossbarTile(Engine):
    """Crossbar engine: operation units step through the bits of their inputs.

    Sustains a step of `ou_parallel` operation units a cycle. Between two tiles of pixels the sums
    are given away; rows of the next tile are gathered meanwhile. In a layer, ``passes`` are the
    output channels and ``chunks`` the groups of a tile's receptive field; weight items are
    :class:`.items.RowsItem` or :class:`.items.CellsItem`. One of `issue` and the stalls is high in
    every cycle until `done`, when the last sums have left.

    Parameters and other members are those of :class:`~steelyard_hw.engine.Engine`.

    Members
    -------
    event : ``Out(UnitEvent)``
        For :class:`.counters.UnitCounters`.
    """

    COUNTERS = UnitCounters

    def __init__(self, config: AcceleratorConfig, target: Target = Target.PORTABLE):
        super().__init__(config, target, members={"event": Out(UnitEvent(config))}, idle=True)

    def elaborate(self, platform):
        m = Module()
        config, layer = self._config, self.layer
        m.submodules.gather = gather = Gather(config)
        m.submodules.unit = unit = UnitIssue(config)
        m.submodules.bitlines = bitlines = Bitlines(config)
        m.submodules.sums = sums = ChannelSums(config)
        m.d.comb += [
            *(each.start.eq(self.start) for each in (gather, unit, sums)),
            *(each.layer.eq(layer) for each in (gather, sums)),
            gather.word.eq(self.word),
            gather.window_valid.eq(self.window_valid),
            gather.window_address.eq(self.window_address),
            gather.group_loaded.eq(self.group_loaded),
            self.group_free.eq(gather.group_free),
            gather.take.eq(unit.take),
            unit.full.eq(gather.full),
            unit.steps.eq(gather.steps),
            bitlines.inputs.eq(gather.inputs),
            bitlines.cells.eq(unit.item.cells),
            bitlines.step.eq(unit.step),
            bitlines.valid.eq(unit.valid),
            bitlines.first.eq(unit.first),
            bitlines.last.eq(unit.last),
            sums.products.eq(bitlines.products),
            self.o_valid.eq(sums.o_valid),
            sums.o_ready.eq(self.o_ready),
            self.o.eq(sums.o),
            self.busy.eq(sums.o_valid),
        ]
        if config.engine.crossbar.dynamic:
            m.d.comb += [
                bitlines.fresh.eq(unit.fresh),
                bitlines.second.eq(unit.second),
                bitlines.begins.eq(unit.item.begins),
                bitlines.ends.eq(unit.item.ends),
            ]
        self._items(m, gather, unit)
        self._tiles(m, unit, sums)

        m.d.comb += sums.token.eq(delay(m, unit.token, bitlines.latency, "token", reset_less=False))
        self._event(m, gather, unit, bitlines)
        return m

    def _items(self, m, gather, unit):
        """Rows go ahead of one item of cells, which is taken out of their way."""
        item = Signal(CellsItem(self._config))
        waiting, new, next_new = Signal(), Signal(), Signal()
        is_cells = self.weights.payload[0]
        free = ~waiting | unit.cells.ready
        m.d.comb += [
            gather.rows.valid.eq(self.weights.valid & ~is_cells & ~self.done),
            gather.rows.payload.eq(self.weights.payload),
            self.weights.ready.eq(Mux(is_cells, free, gather.rows.ready) & ~self.done),
            unit.cells.valid.eq(waiting),
            unit.cells.payload.eq(item),
            unit.new.eq(new),
        ]
        with m.If(unit.cells.ready):
            m.d.sync += waiting.eq(0)
        with m.If(self.weights.valid & self.weights.ready):
            m.d.sync += next_new.eq(~is_cells)
            with m.If(is_cells):
                m.d.sync += [waiting.eq(1), new.eq(next_new), item.eq(self.weights.payload)]
        with m.If(self.start):
            m.d.sync += [waiting.eq(0), next_new.eq(0)]

    def _tiles(self, m, unit, sums):
        """Tile after tile of pixels; what holds the tile up."""
        layer = self.layer
        tiles = Countdown("tiles", layer.out_tiles.shape())
        opened = Signal()
        m.d.comb += unit.open.eq(opened & sums.ready)
        with m.If(unit.token.valid & unit.token.last):
            m.d.sync += opened.eq(0)
        with m.If(sums.drained):
            tiles.step(m, 0, 0)
            m.d.sync += [opened.eq(~tiles.last), self.done.eq(tiles.last)]
        with m.If(self.start):
            tiles.begin(m, layer.out_tiles)
            m.d.sync += [opened.eq(1), self.done.eq(0)]

        loads = unit.cells.valid & unit.new & ~unit.full
        with m.If(~self.done):
            with m.If(unit.working & ~unit.held):
                m.d.comb += self.issue.eq(1)
            with m.Elif(unit.held | ~unit.open):
                m.d.comb += self.stall_drain.eq(1)
            with m.Elif(loads):
                m.d.comb += self.stall_load.eq(1)
            with m.Else():
                m.d.comb += self.stall_weights.eq(1)

    def _event(self, m, gather, unit, bitlines):
        """What is counted of an item of cells, when its rows' steps have been counted."""
        config, dynamic = self._config, self._config.engine.crossbar.dynamic
        event = Signal(UnitEvent(config))
        begins = Signal()
        each = config.engine.crossbar.ou_weights
        firsts = range(0, config.engine.item_weights, each)
        m.d.sync += begins.eq(unit.begins)
        m.d.comb += [
            event.valid.eq(begins | unit.valid if dynamic else begins),
            event.lanes.eq(Mux(gather.run.final, self.layer.last_lanes, config.engine.lanes)),
            (event.begins.eq(begins) if dynamic else event.rows.eq(gather.run.count)),
            event.units.eq(sum(unit.item.count > first for first in firsts)),
            event.columns.eq(unit.item.count * config.engine.crossbar.weight_bitlines),
        ]
        counted = {"pairs": (gather.pairs, gather.PAIRS_LATENCY)}
        if dynamic:
            latency = bitlines.counts_latency
            counted = {"formed": (bitlines.formed, latency), "live": (bitlines.live, latency)}
        stops = config.engine.crossbar.adc_resolve == "reach"
        if stops:
            # Products take as long to be added up, and then have a way to go.
            m.submodules.reaches = reaches = Reaches(config)
            m.d.comb += reaches.item.eq(unit.item)
            for name in ("converted", "decisions"):
                counted[name] = getattr(reaches, name), reaches.latency
        cycles = max(latency for _, latency in counted.values())
        event = delay(m, event, cycles, "event", reset_less=False)
        m.d.comb += self.event.eq(event)
        for name, (value, latency) in counted.items():
            m.d.comb += getattr(self.event, name).eq(delay(m, value, cycles - latency))
