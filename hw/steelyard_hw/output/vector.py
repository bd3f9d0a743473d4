"""Vector unit: maximum or sum of the taps of a window, or both operands, lane by lane."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig
from steelyard.contract.latencies import VECTOR_LATENCY

from ..cells.target import local_copy
from .stage import Beat

__all__ = ["VectorUnit"]

_COPY_LANES = 4
"""Lanes that share a register of a control signal."""


class VectorUnit(wiring.Component):
    """Maximum or sum of the words of a window, or two words side by side, drained R lanes a cycle.

    The first beat of a word leaves 3 cycles after its last tap, the others when the one before is
    taken. One tap a cycle, without stalls; last taps are at least `drain_cycles` cycles apart.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        Configuration of the array.

    Members
    -------
    i_valid : ``In(1)``
        `i_data` holds a tap.
    i_data : ``In(ArrayLayout(signed(8), L))``
        One tap of L lanes.
    across : ``In(1)``, i_total : ``In(signed(8 + log2(L)))``
        `i_total` takes the place of the first lane; only with `lane_sums`.
    i_first, i_last : ``In(1)``
        First and last tap of a window; both at once when there is but one.
    mode : ``In(1)``
        0 maximum, 1 sum, which must fit `vector_bits`; static while taps are in flight.
    pair : ``In(1)``
        Two taps are operands: the second is the result and the first goes beside it; static too.
        Only with `additions` or `products`.
    i_param : ``In(range(parameter_words))``
        Address of the parameters, taken in the cycle after the last tap; without `tag_registers`
        all tags are those of the word that drains.
    i_row : ``In(range(activation_words))``
        Activation word to write, taken in the same cycle.
    o_valid : ``Out(1)``, o_ready : ``In(1)``
        `o` holds a beat; it is taken.
    o : ``Out(Beat(config))``
        Results of R lanes; `accumulate`, `store` and `psum` are 0.

    Attributes
    ----------
    latency : :class:`int`
        Cycles from the last tap to the first beat.
    """

    latency = VECTOR_LATENCY

    def __init__(self, config: AcceleratorConfig):
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"Configuration must be an AcceleratorConfig, not {config!r}")
        self._config = config
        total = signed(8 + (config.engine.lanes - 1).bit_length())
        across = {"across": In(1), "i_total": In(total)} if config.vector.adds_lanes else {}
        super().__init__(
            across
            | ({"pair": In(1)} if config.vector.pairs else {})
            | {
                "i_valid": In(1),
                "i_data": In(data.ArrayLayout(signed(8), config.engine.lanes)),
                "i_first": In(1),
                "i_last": In(1),
                "mode": In(1),
                "i_param": In(range(config.memory.parameter_words)),
                "i_row": In(range(config.memory.activation_words)),
                "o_valid": Out(1),
                "o_ready": In(1, init=1),
                "o": Out(Beat(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        finished, loads, results, earlier = self._reduce(m)
        self._drain(m, finished)
        queue = self._queue(m, loads, results, "queue")
        m.d.comb += [self.o.data[n].eq(each) for n, each in enumerate(queue)]
        if earlier:
            queue = self._queue(m, loads, earlier, "operand")
            m.d.comb += [self.o.operand[n].eq(each) for n, each in enumerate(queue)]
        return m

    def _reduce(self, m: Module) -> tuple[Signal, list[Signal], list[Signal], list[Signal]]:
        """Whether a window finished, copies of that for some lanes each, all results, and what they
        were before the last tap, if anybody asks."""
        valid = Signal()
        finished = Signal()
        last = Signal(reset_less=True)
        taps = Signal.like(self.i_data, reset_less=True)
        m.d.sync += [
            valid.eq(self.i_valid),
            last.eq(self.i_last),
            taps.eq(self.i_data),
            finished.eq(valid & last),
        ]
        bits, pairs = self._config.vector.bits, self._config.vector.pairs
        lowest = taps[0]
        if self._config.vector.adds_lanes:
            lowest = Signal.like(self.i_total, name="lowest", reset_less=True)
            m.d.sync += lowest.eq(Mux(self.across, self.i_total, self.i_data[0]))
        copies = [
            local_copy(m, valid & last, f"finished_{lane}")
            for lane in range(0, self._config.engine.lanes, _COPY_LANES)
        ]
        results, earlier = [], []
        for lane in range(self._config.engine.lanes):
            if lane % _COPY_LANES == 0:
                mode = local_copy(m, self.mode, f"mode_{lane}")
                alone = self.i_first | self.pair if pairs else self.i_first
                first = local_copy(m, alone, f"first_{lane}")
            tap = taps[lane] if lane else lowest
            result = Signal(signed(bits), name=f"result_{lane}", reset_less=True)
            reduced = Mux(tap > result[:8].as_signed(), tap, result[:8].as_signed())
            if bits > 8:
                reduced = Mux(mode, result + tap, reduced)
            with m.If(valid):
                m.d.sync += result.eq(Mux(first, tap, reduced))
            results.append(result)
            if pairs:
                before = Signal(signed(8), name=f"before_{lane}", reset_less=True)
                with m.If(valid):
                    m.d.sync += before.eq(result)
                earlier.append(before)
        return finished, copies, results, earlier

    def _drain(self, m: Module, finished: Signal) -> None:
        """Drive all of `o` but the lanes of finished windows."""
        config = self._config
        tag = {"param": self.i_param, "row": self.i_row}
        busy = Signal()
        beat = Signal(range(self._config.drain_beats), reset_less=True)
        for name, value in tag.items():
            if not config.vector.tag_registers:
                m.d.comb += self.o[name].eq(value)
                continue
            # It comes a cycle after the tap, then is frozen for as long as its word drains.
            ready = Signal(value.shape(), name=f"{name}_ready", reset_less=True)
            sent = Signal(value.shape(), name=f"{name}_sent", reset_less=True)
            m.d.sync += ready.eq(value)
            with m.If(finished):
                m.d.sync += sent.eq(ready)
            m.d.comb += self.o[name].eq(sent)
        with m.If(finished):
            m.d.sync += [busy.eq(1), beat.eq(0)]
        with m.Elif(self.o_ready):
            m.d.sync += beat.eq(beat + 1)
            with m.If(beat == self._config.drain_beats - 1):
                m.d.sync += busy.eq(0)
        m.d.comb += [self.o_valid.eq(busy), self.o.beat.eq(beat)]

    def _queue(
        self, m: Module, loads: list[Signal], results: list[Signal], name: str
    ) -> list[Signal]:
        """Heads of a queue of all lanes, R at a time."""
        width, lanes = self._config.output.requantizers, self._config.engine.lanes
        queue = [
            Signal.like(result, name=f"{name}_{n}", reset_less=True)
            for n, result in enumerate(results)
        ]
        for lane, (entry, result) in enumerate(zip(queue, results, strict=True)):
            follower = queue[lane + width] if lane + width < lanes else entry
            with m.If(loads[lane // _COPY_LANES]):
                m.d.sync += entry.eq(result)
            with m.Elif(self.o_ready):
                m.d.sync += entry.eq(follower)
        return queue[:width]
