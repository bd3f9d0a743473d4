"""Loop counter whose end is known a cycle ahead."""

from amaranth import Mux, Signal

__all__ = ["Countdown"]


class Countdown:
    """Counter of what is left of a loop, with registers that say so of one and two left.

    Not a component: it adds its registers to the module that steps it, so that several loops can
    nest in one place.

    Parameters
    ----------
    name : :class:`str`
        Prefix of the registers' names.
    shape : shape-like
        Holds the longest loop.

    Attributes
    ----------
    last, two : :class:`Signal`
        One step is left; two steps are left.
    """

    def __init__(self, name: str, shape):
        self._left = Signal(shape, name=name)
        self.last = Signal(name=f"{name}_last")
        self.two = Signal(name=f"{name}_two")

    def begin(self, m, number):
        """Begin a loop of `number`."""
        m.d.sync += [self._left.eq(number), self.last.eq(number == 1), self.two.eq(number == 2)]

    def step(self, m, number, one):
        """Step, or begin a loop of `number` anew; `one` says whether that is 1."""
        m.d.sync += [
            self._left.eq(Mux(self.last, number, self._left - 1)),
            self.last.eq(Mux(self.last, one, self.two)),
            self.two.eq(Mux(self.last, number == 2, self._left == 3)),
        ]
