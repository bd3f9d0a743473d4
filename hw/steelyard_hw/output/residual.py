"""Residual additions where one operand leaves the engine: the other is read meanwhile."""

from amaranth.hdl import Cat, Module, Mux, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig
from steelyard.contract.descriptor import FIELDS
from steelyard.contract.latencies import ADDEND_LATENCY, FUSED_LATENCY
from steelyard.contract.limits import MULTIPLIER_BITS

from ..cells.target import Target, local_copy
from ..lib.delay import delay
from ..shell.layer import LayerLayout
from ..shell.ports import AddendPort, BeatWritePort
from .operands import scaled
from .requantizer import times
from .rounding import RESULT_BITS, narrow, rounded_code

__all__ = ["FusedSum", "ResidualAdder"]

_LOW = 18
"""Bits of a factor that the multiplier takes, unsigned; logic takes the others."""

_STATIC = {
    "z_a": "z_a",
    "z_b": "z_b",
    "m_a": "m_a",
    "m_b": "m_b",
    "shift": "sum_shift",
    "z_y": "z_sum",
    "lo": "lo_sum",
    "hi": "hi_sum",
}
"""Fields of a layer by the members of a sum that they are."""


class FusedSum(wiring.Component):
    """Residual addition of one lane, for shifts from 17 to 32.

    ``y = clamp(z_y + round_half_even(((a - z_a) * m_a + (b - z_b) * m_b) / 2**shift), lo, hi)``,
    exact. ``FUSED_LATENCY`` cycles; one sum a cycle, without stalls. All but the operands is static
    in a layer.

    Parameters
    ----------
    target : :class:`.target.Target`
        Whose multipliers to instantiate; results and cycles do not depend on it.

    Members
    -------
    a, b : ``In(signed(8))``
        Operands.
    z_a, z_b : ``In(signed(8))``
        Their zero points.
    m_a, m_b : ``In(24)``
        Their multipliers, unsigned.
    shift : ``In(4)``
        Exponent of the denominator, less 17.
    z_y, lo, hi : ``In(signed(8))``
        Zero point and clamp of the result.
    y : ``Out(signed(8))``
        Result.
    """

    def __init__(self, target: Target = Target.PORTABLE):
        self._target = target
        codes = dict.fromkeys(("a", "b", "z_a", "z_b", "z_y", "lo", "hi"), In(signed(8)))
        multipliers = dict.fromkeys(("m_a", "m_b"), In(MULTIPLIER_BITS))
        super().__init__(codes | multipliers | {"shift": In(4), "y": Out(signed(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = delay(m, self._scaled(m, "a") + self._scaled(m, "b"))  # after 6
        least = FIELDS["sum_shift"].minimum - 1
        fine = RESULT_BITS + 3
        reach = least + fine + 12
        wide = Cat(total, total[-1].replicate(reach - len(total)))[least:]
        window, lost, excess = narrow(m, wide, self.shift[2:], 4, fine)
        sticky = delay(m, delay(m, total[:least].any()) | lost)
        saturate = delay(m, excess)
        window, lost, excess = narrow(m, window, self.shift[:2], 1, RESULT_BITS)
        code = rounded_code(
            m,
            delay(m, window),
            delay(m, sticky | lost),
            delay(m, saturate | excess),
            delay(m, total[-1], 4),
            self.z_y,
            self.lo,
            self.hi,
        )
        m.d.comb += self.y.eq(code)
        return m

    def _scaled(self, m: Module, name: str) -> Value:
        """An operand less its zero point times its multiplier, 5 cycles later."""
        # Results of tables and addends come from far, and the multiplier has a place.
        operand = delay(m, getattr(self, name), 1, name)
        value = (operand - getattr(self, f"z_{name}"))[:9].as_signed()
        factor = getattr(self, f"m_{name}")
        low = times(m, self._target, value, factor[:_LOW], f"product_{name}")
        return delay(m, scaled(m, value, factor, low, _LOW)[: 9 + MULTIPLIER_BITS].as_signed())


class ResidualAdder(wiring.Component):
    """Adds the words of another tensor to results on their way to memory, R lanes a cycle.

    ``FUSED_LATENCY`` cycles from `results` to `write`, without stalls; results of other layers pass
    at once.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
    target : :class:`.target.Target`

    Members
    -------
    layer : ``In(LayerLayout)``
        The running layer, static while results are in flight.
    coming : ``In(BeatWritePort(config))``
        What `results` will be `lead` cycles later, but for the data.
    results : ``In(BeatWritePort(config))``
        Results of the output stage, or of the tables behind it.
    addend : ``Out(AddendPort(config))``
        Other operand.
    write : ``Out(BeatWritePort(config))``
        What is to be written.

    Attributes
    ----------
    lead : :class:`int`
        Cycles from `coming` to `results`.
    """

    lead = 1 + ADDEND_LATENCY

    def __init__(self, config: AcceleratorConfig, target: Target = Target.PORTABLE):
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"Configuration must be an AcceleratorConfig, not {config!r}")
        self._config = config
        self._target = target
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "coming": In(BeatWritePort(config)),
                "results": In(BeatWritePort(config)),
                "addend": Out(AddendPort(config)),
                "write": Out(BeatWritePort(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer, results, write = self.layer, self.results, self.write
        m.d.sync += [
            self.addend.row.eq(self.coming.row + layer.addend_offset),
            self.addend.beat.eq(self.coming.beat),
        ]
        if self._config.memory.external_words:
            m.d.sync += self.addend.en.eq(self.coming.en & layer.fused)
        fused = delay(m, results.en & layer.fused, FUSED_LATENCY, "fused", reset_less=False)
        m.d.comb += write.en.eq(fused | (results.en & ~layer.fused))
        for name in ("row", "beat"):
            value = getattr(results, name)
            held = delay(m, value, FUSED_LATENCY, name)
            m.d.comb += getattr(write, name).eq(Mux(fused, held, value))
        for lane in range(self._config.output.requantizers):
            m.submodules[f"sum_{lane}"] = total = FusedSum(self._target)
            m.d.comb += [
                total.a.eq(results.data[lane]),
                total.b.eq(self.addend.data[lane]),
                # They do not change while sums are in flight, but are far from some of these.
                *(
                    getattr(total, name).eq(local_copy(m, getattr(layer, field), f"{field}_{lane}"))
                    for name, field in _STATIC.items()
                ),
                write.data[lane].eq(Mux(fused, total.y, results.data[lane])),
            ]
        return m
