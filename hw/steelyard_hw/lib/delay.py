"""Registers in a row."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["delay", "delays"]


def delay(
    m: Module, value: Value, cycles: int = 1, name: str | None = None, *, reset_less: bool = True
) -> Value:
    """`value` as it was `cycles` clock cycles before, of its own shape; itself for 0 cycles.

    Parameters
    ----------
    name
        Registers are called after it and their number, from 1 on.
    reset_less
        Whether a reset leaves the registers alone; if not, they begin at zero.
    """
    return delays(m, value, cycles, name, reset_less=reset_less)[-1]


def delays(
    m: Module, value: Value, cycles: int, name: str | None = None, *, reset_less: bool = True
) -> list[Value]:
    """`value`, then as it was 1 to `cycles` clock cycles before; parameters as of :func:`delay`."""
    stages = [value]
    for number in range(1, cycles + 1):
        own = "delayed" if name is None else f"{name}_{number}"
        register = Signal(stages[-1].shape(), name=own, reset_less=reset_less)
        m.d.sync += register.eq(stages[-1])
        stages.append(register)
    return stages
