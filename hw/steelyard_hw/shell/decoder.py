"""Decoder of the host's word bus: from one bus to that of each space."""

from collections.abc import Mapping

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract.registers import Space

from ..lib.delay import delay
from .ports import HostBus

__all__ = ["HostDecoder"]


class HostDecoder(wiring.Component):
    """Gives the host's bus to the spaces of its memories, registers and counters.

    No cycle of latency but, with `registered`, one of each place and write and one of `result`;
    `select` is never late. An access a cycle. Every space sees the place, cut off to its range;
    only the one that the host addresses sees `write` and is heard. A space that is not here reads
    as zero.

    Parameters
    ----------
    host : :class:`.ports.HostBus`
        The host's own bus.
    spaces : bus of each space, each with its own range
    registered : :class:`bool`
        Whether registers lie between the spaces, which are far apart in a large device, and the
        host.

    Members
    -------
    host : ``In(host)``
    space : ``In(3)``
        What the host addresses, see :class:`~steelyard.contract.registers.Space`.
    descriptors, parameters, ... : ``Out(HostBus)``
        Bus of each space, by its name in lower case.
    """

    def __init__(self, host: HostBus, spaces: Mapping[Space, HostBus], *, registered: bool = False):
        self._spaces = tuple(spaces)
        self._registered = registered
        super().__init__(
            {
                "host": In(host),
                "space": In(3),
                **{space.name.lower(): Out(bus) for space, bus in spaces.items()},
            }
        )

    def bus(self, space: Space) -> wiring.PureInterface:
        """Member of a space."""
        found: wiring.PureInterface = getattr(self, space.name.lower())
        return found

    def elaborate(self, platform):
        m = Module()
        host = self.host
        wait = int(self._registered)
        for space in self._spaces:
            bus = self.bus(space)
            write = host.write & (self.space == space)
            name = f"write_{space.name.lower()}"
            m.d.comb += [
                bus.select.eq(host.select),
                bus.write.eq(delay(m, write, wait, name, reset_less=False)),
            ]
        for name in ("address", "sub", "data"):
            late = delay(m, getattr(host, name), wait, name)
            m.d.comb += [getattr(self.bus(space), name).eq(late) for space in self._spaces]
        results = m.d.sync if self._registered else m.d.comb
        with m.Switch(self.space):
            for space in self._spaces:
                with m.Case(space):
                    results += host.result.eq(self.bus(space).result)
            with m.Default():
                results += host.result.eq(0)
        return m
