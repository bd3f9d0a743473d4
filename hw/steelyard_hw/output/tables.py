"""Tables behind the output stage: any function of an int8 code, looked up."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig
from steelyard.contract.latencies import TABLE_CYCLES, TABLE_LATENCY

from ..cells.target import local_copy
from ..lib.delay import delay
from ..shell.ports import BeatWritePort

__all__ = ["LookupTables"]


class LookupTables(wiring.Component):
    """A copy of the running layer's table for each of R lanes.

    `latency` cycles from `results` to `write`, whether results pass the tables or not; R results
    a cycle, without stalls. Copying takes ``TABLE_CYCLES`` cycles, half a parameter item each; the
    first result may come with the third cycle after the last of them.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    copy : ``In(1)``, copied : ``Out(1)``
        Copy the table, high until `copied` says that this cycle is the last of it.
    base : ``In(range(parameter_words))``
        Its first parameter item, stable in the cycle before `copy` too.
    address : ``Out(range(parameter_words))``
        Address of the parameter memory while copying.
    data : ``In(64)``
        Item at the address of the cycle before: entries of 8 codes in turn, the lowest in the low
        byte; the first item begins with that of code -128.
    enable : ``In(1)``
        Results pass the tables; static while they are in flight.
    results : ``In(BeatWritePort(config))``
        Results of the output stage.
    write : ``Out(BeatWritePort(config))``
        What is to be written.

    Attributes
    ----------
    latency : :class:`int`
        Cycles from `results` to `write`.
    """

    latency = TABLE_LATENCY

    def __init__(self, config: AcceleratorConfig):
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"Configuration must be an AcceleratorConfig, not {config!r}")
        self._lanes = config.output.requantizers
        parameters = config.memory.parameter_words
        super().__init__(
            {
                "copy": In(1),
                "copied": Out(1),
                "base": In(range(parameters)),
                "address": Out(range(parameters)),
                "data": In(64),
                "enable": In(1),
                "results": In(BeatWritePort(config)),
                "write": Out(BeatWritePort(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        writes, place, word = self._copy(m)
        for lane in range(self._lanes):
            memory = Memory(shape=32, depth=TABLE_CYCLES, init=[])
            m.submodules[f"table_{lane}"] = memory
            read, write = memory.read_port(), memory.write_port()
            # It does not change while results are in flight, but is far from some of these.
            enable = local_copy(m, self.enable, f"enable_{lane}")
            code = self.results.data[lane].as_unsigned()
            # Entries begin with that of -128: the top bit is inverted.
            entry = Cat(code[:7], ~code[7])
            fetched = delay(m, read.data, 1, f"fetched_{lane}")
            within = delay(m, entry[:2], self.latency, f"within_{lane}")
            found = Array(fetched.word_select(n, 8) for n in range(4))[within]
            passed = delay(m, code, self.latency, f"passed_{lane}")
            m.d.comb += [
                read.addr.eq(entry[2:]),
                read.en.eq(self.results.en),
                write.addr.eq(place),
                write.data.eq(word),
                write.en.eq(writes),
                self.write.data[lane].eq(Mux(enable, found, passed).as_signed()),
            ]
        m.d.comb += [
            self.write.en.eq(delay(m, self.results.en, self.latency, "valid", reset_less=False)),
            self.write.row.eq(delay(m, self.results.row, self.latency, "row")),
            self.write.beat.eq(delay(m, self.results.beat, self.latency, "beat")),
        ]
        return m

    def _copy(self, m: Module) -> tuple[Signal, Signal, Signal]:
        """Write strobe, address and data of the tables."""
        step = Signal(range(TABLE_CYCLES))
        address = Signal.like(self.address, reset_less=True)
        m.d.comb += [
            self.copied.eq(self.copy & (step == TABLE_CYCLES - 1)),
            self.address.eq(address),
        ]
        with m.If(self.copy):
            m.d.sync += [step.eq(step + 1), address.eq(address + step[0])]
        with m.Else():
            m.d.sync += address.eq(self.base)
        high = delay(m, step[0], 1, "high")
        word = delay(m, Mux(high, self.data[32:], self.data[:32]), 1, "word")
        return (
            delay(m, self.copy, 2, "writes", reset_less=False),
            delay(m, step, 2, "place"),
            word,
        )
