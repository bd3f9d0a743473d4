"""Device families whose cells the gateware uses, and local copies of signals with many loads."""

from enum import Enum

from amaranth import Signal

__all__ = ["LOCAL_COPY", "Target", "local_copy"]

LOCAL_COPY = "local_copy"
"""Attribute of registers that a toolchain must not merge (``boards`` sets `keep` on them)."""


class Target(Enum):
    """Whose cells the gateware instantiates. Results and cycles are the same on all of them."""

    PORTABLE = "portable"
    """None: plain arithmetic, for simulation and for families without a version of their own."""
    ECP5 = "ecp5"
    """Two lanes share one MULT18X18D."""
    ICE40 = "ice40"
    """Two lanes share one SB_MAC16."""
    XILINX = "xilinx"
    """Two lanes share one DSP48."""


def local_copy(m, value, name: str) -> Signal:
    """Register of `value` for a few loads nearby, without a reset.

    Many such copies of one signal keep its wires short; synthesis would merge them if it could.
    """
    register = Signal.like(value, name=name, reset_less=True, init=0, attrs={LOCAL_COPY: 1})
    m.d.sync += register.eq(value)
    return register
