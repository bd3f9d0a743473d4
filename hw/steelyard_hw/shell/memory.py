"""Memories shared between the engine and the host, one access a cycle and port."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from steelyard.contract import AcceleratorConfig

from ..cells.target import local_copy
from ..lib.delay import delay
from .accesses import MovedAccess
from .ports import AddendPort, BeatWritePort, HostBus, MovedPort, ReadPort, RowReadPort

__all__ = ["ActivationMemory", "ItemMemory"]


def _is_integer(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


class ItemMemory(wiring.Component):
    """Memory of items: the engine reads whole items, the host reads and writes 32-bit words.

    One block RAM read port serves both sides, so the host may read only while the engine does not.
    The engine reads an item a cycle, the host writes a word a cycle. A word written is readable two
    cycles later. Initial contents are not defined.

    Parameters
    ----------
    depth : :class:`int`
        Items, 2 to 2**24.
    item_words : :class:`int`
        32-bit words of an item on the host's side, 1 to 64.
    bits : :class:`int`
        Bits of an item, more than ``32 * (item_words - 1)`` and at most ``32 * item_words``; the
        host reads the bits above as zero.
    read_latency : :class:`int`
        Cycles from `read.addr` to its `data`: 1, or 2 where many block RAMs share the address, of
        which each word then has a register of its own.
    registered : :class:`bool`
        Whether the host's accesses pass registers, for a fast clock. If not, the host writes with
        `select` alone, and a memory with one port for both sides does.

    Attributes
    ----------
    HOST_LATENCY : :class:`int`
        Cycles for which the host's place must hold before `result` is its word.

    Members
    -------
    read : ``In(ReadPort(depth, bits))``
        Read port of the engine; the item comes straight from block RAM.
    host : ``In(HostBus(depth, item_words))``
        With `select` the read port is the host's; it must hold with `address` and in the cycle
        after. A strobe of `write` stores, with `registered` whatever `select` is.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    HOST_LATENCY = 4

    def __init__(
        self,
        depth: int,
        item_words: int,
        *,
        bits: int,
        read_latency: int = 1,
        registered: bool = True,
    ):
        if not _is_integer(depth, 2, 1 << 24):
            raise ValueError(f"Depth must be an integer from 2 to {1 << 24}, not {depth!r}")
        if not _is_integer(item_words, 1, 64):
            raise ValueError(
                f"Words of an item must be an integer from 1 to 64, not {item_words!r}"
            )
        low, high = 32 * (item_words - 1) + 1, 32 * item_words
        if not _is_integer(bits, low, high):
            raise ValueError(
                f"Bits of an item of {item_words} words must be an integer from {low} to {high}, "
                f"not {bits!r}"
            )
        if read_latency not in (1, 2):
            raise ValueError(f"Read latency must be 1 or 2, not {read_latency!r}")
        self._depth = depth
        self._item_words = item_words
        self._bits = bits
        self._read_latency = read_latency
        self._registered = registered
        super().__init__(
            {
                "read": In(ReadPort(depth, bits)),
                "host": In(HostBus(depth, item_words)),
            }
        )

    @property
    def depth(self) -> int:
        """Items."""
        return self._depth

    def elaborate(self, platform):
        m = Module()
        host_address = Signal(range(self._depth), reset_less=True)
        host_data = Signal(32, reset_less=True)
        accesses = m.d.sync if self._registered else m.d.comb
        host = self.host
        accesses += [host_address.eq(host.address), host_data.eq(host.data)]
        # The host's address has been registered already where the memory does not do it.
        shared = self._read_latency == 2
        read_address = Mux(host.select, host.address if shared else host_address, self.read.addr)
        read_enable = Signal(init=1, reset_less=True)
        enables = m.d.sync if shared else m.d.comb
        enables += read_enable.eq(self.read.en | host.select)

        words = []
        for number in range(self._item_words):
            # A memory a word: write strobes a word then need no byte enables of the block RAM.
            width = min(32, self._bits - 32 * number)
            memory = Memory(shape=width, depth=self._depth, init=[])
            m.submodules[f"word_{number}"] = memory
            read, write = memory.read_port(), memory.write_port()
            accesses += write.en.eq(host.write & (host.sub == number))
            own_address, own_data = host_address, host_data
            if shared and self._registered:
                # Large memories lie all over a device: one register for all is far from most.
                own_address = local_copy(m, host.address, f"host_address_{number}")
                own_data = local_copy(m, host.data, f"host_data_{number}")
            m.d.comb += [
                read.en.eq(read_enable),
                read.addr.eq(
                    local_copy(m, read_address, f"address_{number}") if shared else read_address
                ),
                # One address for both lets a single-port memory do.
                write.addr.eq(own_address if self._registered else read_address),
                write.data.eq(own_data),
            ]
            words.append(read.data)
        m.d.comb += self.read.data.eq(Cat(words))

        if not self._registered:
            # The cells of a selection have registers for nothing.
            answers = m.d.sync if self._item_words > 1 else m.d.comb
            answers += host.result.eq(Array(words)[host.sub])
            return m
        # The block RAM's slow output gets a cycle of its own before the selection.
        fetched = [
            Signal.like(word, name=f"fetched_{n}", reset_less=True) for n, word in enumerate(words)
        ]
        m.d.sync += [
            *(register.eq(word) for register, word in zip(fetched, words, strict=True)),
            host.result.eq(Array(fetched)[host.sub]),
        ]
        return m


class ActivationMemory(wiring.Component):
    """Memory of activations: a bank of bytes for each lane, a row holds one byte of every bank.

    With `wide_reads` there are twice as many banks, and two words of `lanes` bytes in a row.
    The engine reads a row and writes into one in the same cycle; the host reads and writes 32-bit
    words (four lanes) through the same ports, so only while the engine does not. Initial contents
    are not defined; reading and writing one row in the same cycle is not defined either.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        Gives lanes L, requantizers R, banks and words (``activation_words``).

    Attributes
    ----------
    WRITE_LATENCY : :class:`int`
        Cycles from `write.en` to the first cycle in which `read.row` may name its row.
    HOST_LATENCY : :class:`int`
        Cycles for which the host's place must hold before `result` is its word.

    Members
    -------
    read : ``In(RowReadPort(config))``
        Read port of the loader.
    write : ``In(BeatWritePort(config))``
        Write port of the output stage.
    host : ``In(HostBus(activation_words, L // 4))``
        Words, of which each 32 bits are lanes ``4*sub`` to ``4*sub + 3``, low byte first. With
        `select` the read port is the host's, with `read_registers` from two cycles later on. A
        strobe of `write` stores, whatever `select` is; never together with `write.en`.
    addend : ``In(AddendPort(config))``
        Read port of fused residual additions, through the block RAMs' write ports. Only with
        `fuses_additions`.
    moved : ``In(MovedPort(config))``
        Port of the mover, through the block RAMs' write ports in cycles in which the engine leaves
        them alone. Only with external memory; then what the host writes comes a cycle later.

    Raises
    ------
    TypeError
        If `config` is no :class:`~steelyard.contract.AcceleratorConfig`.
    """

    WRITE_LATENCY = 1
    HOST_LATENCY = 6

    def __init__(self, config: AcceleratorConfig):
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"Configuration must be an AcceleratorConfig, not {config!r}")
        self._registered = config.memory.read_registers
        self._lanes = config.engine.lanes
        self._banks = config.banks
        self._writers = config.output.requantizers
        self._depth = config.memory.activation_words
        self._beats = config.drain_beats
        self._fuses = config.fuses_additions
        self._moves: Any = MovedAccess(config) if config.memory.external_words else None
        super().__init__(
            {
                **({"addend": In(AddendPort(config))} if self._fuses else {}),
                **({"moved": In(MovedPort(config))} if self._moves else {}),
                "read": In(RowReadPort(config)),
                "write": In(BeatWritePort(config)),
                "host": In(HostBus(self._depth, config.activation_item_words)),
            }
        )

    @property
    def depth(self) -> int:
        """Words."""
        return self._depth

    def elaborate(self, platform):
        m = Module()
        lanes = self._lanes
        host = self.host
        # Low bits of a word's address choose among the words of a row.
        low = self._banks // lanes - 1
        depth = self._depth >> low
        # The host, far away in a large device, reads no row behind its own.
        own = self.read.row
        # Whose row it is changes long before a row is read.
        select = Signal(init=1)
        selects = m.d.sync if self._registered else m.d.comb
        selects += select.eq(host.select)
        row, next_row = Signal(range(depth)), Signal(range(depth))
        wraps = not self._registered and depth & (depth - 1) == 0
        # A cycle each for the addition and for the way to the banks.
        selects += [
            row.eq(Mux(select, host.address[low:], own)),
            next_row.eq(own + 1 if wraps else Mux(own == depth - 1, 0, own + 1)),
        ]
        aheads = Signal(self._banks)
        selects += aheads.eq(Cat(~select & (self.read.split > bank) for bank in range(self._banks)))

        if self._moves:
            self._shared_ports(m)
        store_rows = self._store_rows(m)
        stored = self._stored(m)

        outputs = m.d.sync if self._registered else m.d.comb
        output = [Signal(8, name=f"output_{n}", reset_less=True) for n in range(self._banks)]
        others = []
        for bank in range(self._banks):
            memory = Memory(shape=8, depth=depth, init=[])
            m.submodules[f"bank_{bank}"] = memory
            read, write = memory.read_port(), memory.write_port()
            # An address register a bank: nothing but wire lies between it and the block RAM.
            address = Signal(range(depth), name=f"address_{bank}", reset_less=True)
            word, lane = divmod(bank, lanes)
            beat = Cat(self.write.beat, self.write.row[:low])
            own_beat = word << len(self.write.beat) | lane // self._writers
            m.d.sync += [
                address.eq(Mux(aheads[bank], next_row, row)),
                write.en.eq((self.write.en & (beat == own_beat)) | self._placed(word, lane, low)),
            ]
            outputs += output[bank].eq(read.data)
            m.d.comb += [
                read.addr.eq(address),
                write.addr.eq(store_rows[lane // self._writers][low:]),
                write.data.eq(stored[lane % len(stored)]),
                self.read.data[bank].eq(output[bank]),
            ]
            if self._fuses or self._moves:
                # With the write's address the same port of the block RAM reads it.
                other = memory.read_port()
                m.d.comb += [other.addr.eq(write.addr), other.en.eq(~write.en)]
                others.append(delay(m, other.data, 1, f"addend_{bank}"))
        if self._fuses:
            self._choose(m, others)
        if self._moves:
            self._find(m, others)

        words = Array(Cat(output[first : first + 4]) for first in range(0, self._banks, 4))
        # Banks lie all over a large device.
        answers = m.d.sync if self._registered else m.d.comb
        answers += host.result.eq(words[Cat(host.sub, host.address[:low])])
        return m

    def _shared_ports(self, m):
        """Accesses of mover and host, which leave the ports to the engine in its cycles."""
        m.submodules.moved = moves = self._moves
        wiring.connect(m, wiring.flipped(self.moved.access), moves.access)
        m.d.comb += [
            *(
                getattr(moves.host, name).eq(getattr(self.host, name))
                for name in ("select", "address", "sub", "write", "data")
            ),
            moves.writes.eq(self.write.en),
            moves.write_beat.eq(self.write.beat),
        ]
        if self._fuses:
            m.d.comb += [moves.reads.eq(self.addend.en), moves.read_beat.eq(self.addend.beat)]

    def _placed(self, word, lane, low):
        """Whether host or mover write one of a row's words at a lane in this cycle."""
        if self._moves:
            place, part = self._moves.place, self._moves.parts[lane % 4 // self._moves.part_lanes]
            sub = Cat(place.sub, place.address[:low])
            strobe = part & place.write
        else:
            sub, strobe = Cat(self.host.sub, self.host.address[:low]), self.host.write
        return strobe & (sub == (word << len(self.host.sub) | lane // 4))

    def _stored(self, m):
        """Byte to store in each lane, but for lanes that always get the same."""
        # The host stores four lanes at a time, however few the requantizers are.
        count = self._lanes if self._moves else max(4, self._writers)
        stored = [Signal(8, name=f"stored_{n}", reset_less=True) for n in range(count)]
        for number, byte in enumerate(stored):
            result = self.write.data[number % self._writers].as_unsigned()
            if self._moves:
                word, first = self._moves.place.data, self._written(number // self._writers)
                m.d.sync += byte.eq(Mux(first, result, word.word_select(number % 4, 8)))
            else:
                word = self.host.data.word_select(number % 4, 8)
                m.d.sync += byte.eq(Mux(self.host.write, word, result))
        return stored

    def _written(self, beat):
        """Whether results of a beat are written in this cycle."""
        return self.write.en & (self.write.beat == beat)

    def _store_rows(self, m):
        """Row of the write ports of each beat's lanes: what is written, else what is read there.

        Where nothing is read there one row serves all.
        """
        wanted = [self.write.row]
        if self._fuses or self._moves:
            wanted = [self._row_of(beat) for beat in range(self._beats)]
        rows = []
        for number, row in enumerate(wanted):
            rows.append(Signal(range(self._depth), name=f"store_row_{number}", reset_less=True))
            host = self.host
            m.d.sync += rows[-1].eq(row if self._moves else Mux(host.write, host.address, row))
        return rows * (self._beats // len(rows))

    def _row_of(self, beat):
        """Row that a beat's lanes write or read in this cycle."""
        row = self._moves.place.address if self._moves else self.addend.row
        if self._moves and self._fuses:
            wanted = self.addend.en & (self.addend.beat == beat)
            row = Mux(wanted, self.addend.row, row)
        return Mux(self._written(beat), self.write.row, row)

    def _choose(self, m, addends):
        """Bytes of the beat that was asked for, of one of a row's words."""
        low = self._banks // self._lanes - 1
        place = delay(m, Cat(self.addend.beat, self.addend.row[:low]), 3, "addend_place")
        for number in range(self._writers):
            chosen = Array(addends[number :: self._writers])[place]
            held = delay(m, chosen, 1, f"addend_chosen_{number}")
            m.d.comb += self.addend.data[number].eq(held.as_signed())

    def _find(self, m, others):
        """Word that the mover reads: chosen of a row's words, its parts put together."""
        moves, moved = self._moves, self.moved
        low = self._banks // self._lanes - 1
        reads = ~moves.place.write
        place = delay(m, Cat(moves.place.sub, moves.place.address[:low]), 3, "moved_place")
        for byte in range(4):
            chosen = Array(others[byte::4])[place]
            part = delay(m, moves.parts[byte // moves.part_lanes] & reads, 3, f"moved_part_{byte}")
            found = Signal(8, name=f"moved_byte_{byte}", reset_less=True)
            with m.If(part):
                m.d.sync += found.eq(chosen)
            m.d.comb += moved.result.word_select(byte, 8).eq(found)
        ended = delay(m, moves.done & reads, 4, "moved_found", reset_less=False)
        m.d.comb += [
            moved.found.eq(ended),
            moved.last.eq(delay(m, moves.place.last, 4, "moved_last")),
        ]
