"""Counters of what a layer's operation units do (docs/crossbar.md, section 4)."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In

from steelyard.contract import AcceleratorConfig
from steelyard.contract.registers import COUNTERS, UNIT_COUNTERS

from ..lib.delay import delay
from ..shell.ports import HostBus
from .formation import counted

__all__ = ["UnitCounters", "UnitEvent"]

BITS = 64


class UnitEvent(data.StructLayout):
    """An item of cells was worked on, on all lanes; with dynamic formation, one pass of it.

    Members
    -------
    valid : ``1``
    pairs : ``range(lanes * steps + 1)``
        Steps that were executed, summed over the lanes.
    begins : ``1``, formed : ``range(lanes + 1)``, live : ``range(lanes * ou_rows + 1)``
        In place of `pairs` and `rows` with dynamic formation: the item begins; of this pass, units
        that were formed and rows that had an input bit, summed over the lanes.
    lanes : ``range(lanes + 1)``
        Lanes in use.
    units : ``range(ou_parallel + 1)``
        Operation units in use.
    rows : ``range(ou_rows + 1)``
        Wordlines in use, of each.
    columns : ``range(item_columns + 1)``
        Bitlines in use, of all.
    converted, decisions : ``range(item_columns + 1)``, ``range(item_columns * adc_bits + 1)``
        Those of them that reach any bit, and the bits that these reach; only where converters stop
        at them.
    """

    def __init__(self, config: AcceleratorConfig):
        unit = config.engine.crossbar
        steps, rows = _worked(config)
        super().__init__(
            {
                "valid": 1,
                **steps,
                "lanes": range(config.engine.lanes + 1),
                "units": range(config.engine.ou_parallel + 1),
                **rows,
                "columns": range(config.engine.item_columns + 1),
                **(_reached(config) if unit.adc_resolve == "reach" else {}),
            }
        )


def _worked(config: AcceleratorConfig) -> tuple[dict[str, int | range], dict[str, range]]:
    """Members of an event that say which steps were executed, and of which rows."""
    unit = config.engine.crossbar
    if unit.dynamic:
        formed, live = counted(config)
        return {"begins": 1, "formed": formed}, {"live": live}
    return {"pairs": range(config.engine.lanes * unit.steps + 1)}, {"rows": range(unit.ou_rows + 1)}


def _reached(config: AcceleratorConfig) -> dict[str, range]:
    """Members of an event that say what bitlines reach."""
    columns = config.engine.item_columns
    return {
        "converted": range(columns + 1),
        "decisions": range(columns * config.engine.crossbar.adc_bits + 1),
    }


class UnitCounters(wiring.Component):
    """Sums of a layer's events, copied into a memory an item a strobe.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    start : ``In(1)``
        A layer begins: the sums start at zero.
    event : ``In(UnitEvent)``
    store : ``In(1)``
        Strobe: copy the sum named by `store_address` into the memory.
    store_address : ``In(range(max_layers * 8))``
        Counter in the low three bits, layer above.
    host : ``In(HostBus(max_layers * 8, 2))``
        Words of what is stored, two cycles after their place; `write` does nothing.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        items = config.memory.max_layers * len(COUNTERS)
        super().__init__(
            {
                "start": In(1),
                "event": In(UnitEvent(config)),
                "store": In(1),
                "store_address": In(range(items)),
                "host": In(HostBus(items, BITS // 32)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, event = self._config, self.event
        m.submodules.memory = stored = memory.Memory(
            shape=BITS, depth=config.memory.max_layers * len(COUNTERS), init=[]
        )
        write, read = stored.write_port(), stored.read_port()

        all_steps = event.lanes * config.engine.crossbar.steps
        if config.engine.crossbar.dynamic:
            # Rows that waited from items before may form more units than their item has steps.
            steps, skips = event.formed, Mux(event.begins, all_steps, 0) - event.formed
            drives = delay(m, event.live)
        else:
            steps, skips = event.pairs, (all_steps - event.pairs)[: len(all_steps)]
            drives = delay(m, event.pairs * event.rows)
        skipped, executed = delay(m, skips), delay(m, steps)
        columns = delay(m, event.columns)
        units = delay(m, event.units)
        amounts = [
            delay(m, executed * units),
            delay(m, skipped * units),
            delay(m, steps * event.columns, 2),
            delay(m, drives * units),
            delay(m, drives * columns),
        ]
        if config.engine.crossbar.adc_resolve == "reach":
            left_out = (event.columns - event.converted)[: len(event.columns)]
            amounts[2] = delay(m, steps * event.converted, 2)
            amounts += [delay(m, steps * left_out, 2), delay(m, steps * event.decisions, 2)]
        valid = delay(m, event.valid, 2, "valid", reset_less=False)
        sums = [Signal(BITS, name=name) for name in UNIT_COUNTERS[: len(amounts)]]
        with m.If(valid):
            m.d.sync += [total.eq(total + n) for total, n in zip(sums, amounts, strict=True)]
        with m.If(self.start):
            m.d.sync += [total.eq(0) for total in sums]

        items = [*sums, *[Const(0, BITS)] * (len(COUNTERS) - len(sums))]
        m.d.sync += [
            write.en.eq(self.store),
            write.addr.eq(self.store_address),
            write.data.eq(Cat(items).word_select(self.store_address[:3], BITS)),
        ]
        word = Signal(32, reset_less=True)
        m.d.sync += word.eq(read.data.word_select(self.host.sub, 32))
        m.d.comb += [read.addr.eq(self.host.address), self.host.result.eq(word)]
        return m
