"""Two lanes on one iCE40 SB_MAC16, which has a mode of two 8x8 products."""

from amaranth import Cat, ClockSignal, Const, Instance, Module
from amaranth.lib import wiring

__all__ = ["IcePairs"]


class IcePairs(wiring.Component):
    """Products of one weight with all lanes, two lanes on each SB_MAC16.

    Same ports and products as :class:`.multiplier.LaneMultipliers`, with ``STAGES`` cycles of
    latency, of which the first is the operands' own register: a column has none in front of it. One
    weight a cycle. The upper halves of both operands make the upper product, the lower halves the
    lower one; the adders behind them pass the products to the output registers.

    Parameters
    ----------
    lanes : :class:`int`
        Even.
    signature : ports, as ``multiplier_signature(lanes)`` gives them

    Raises
    ------
    ValueError
        If the number of lanes is odd.
    """

    STAGES = 3

    def __init__(self, lanes: int, signature: wiring.Signature):
        if lanes % 2:
            raise ValueError(f"Lanes must be even to share multipliers, not {lanes!r}")
        self._lanes = lanes
        super().__init__(signature)

    def elaborate(self, platform):
        m = Module()
        weight = self.weight.as_unsigned()
        held = {f"i_{name}": Const(0, 1) for name in (
            "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT",
            "OLOADTOP", "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT",
            "CI", "ACCUMCI", "SIGNEXTIN",
        )}  # fmt: skip
        mode = {"A_REG": 1, "B_REG": 1, "MODE_8x8": 1, "A_SIGNED": 0, "B_SIGNED": 1}
        for half in ("TOP", "BOT"):
            mode[f"{half}_8x8_MULT_REG"] = 1
            # Product plus C, which is zero, into the output register.
            mode[f"{half}ADDSUB_LOWERINPUT"] = 1
            mode[f"{half}ADDSUB_UPPERINPUT"] = 1
            mode[f"{half}ADDSUB_CARRYSELECT"] = 0
            mode[f"{half}OUTPUT_SELECT"] = 1
        widths = {"LOWERINPUT": 2, "CARRYSELECT": 2, "OUTPUT_SELECT": 2}
        parameters = {
            f"p_{name}": Const(
                value, next((w for end, w in widths.items() if name.endswith(end)), 1)
            )
            for name, value in mode.items()
        }
        for lane in range(0, self._lanes, 2):
            m.submodules[f"multiplier_{lane}"] = Instance(
                "SB_MAC16",
                **parameters,
                **held,
                i_CLK=ClockSignal(),
                i_CE=Const(1, 1),
                i_A=Cat(self.activations[lane], self.activations[lane + 1]),
                i_B=Cat(weight, weight),
                i_C=Const(0, 16),
                i_D=Const(0, 16),
                o_O=self.products.as_value()[16 * lane : 16 * lane + 32],
            )
        return m
