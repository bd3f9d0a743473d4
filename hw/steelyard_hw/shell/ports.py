"""Signatures of the ports of memories and of the host's word bus, as their users see them."""

from amaranth.hdl import ShapeLike, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

__all__ = [
    "AddendPort",
    "BeatWritePort",
    "EdgePort",
    "HostBus",
    "MovedPort",
    "MovedWord",
    "ReadPort",
    "RowReadPort",
    "WritePort",
]


class ReadPort(wiring.Signature):
    """Port through which a unit reads a memory; Amaranth's own read ports connect to it.

    The memory says how many cycles its data comes after the address; none can make a user wait.

    Parameters
    ----------
    depth : :class:`int`
        Items of the memory.
    shape : shape of an item

    Members
    -------
    en : ``Out(1, init=1)``
        Read the item at `addr`; without it `data` stays. Who does not drive it always reads.
    addr : ``Out(range(depth))``
        Item to read, with `en`.
    data : ``In(shape)``
        The item, the memory's latency later.
    """

    def __init__(self, depth: int, shape: ShapeLike):
        super().__init__({"en": Out(1, init=1), "addr": Out(range(depth)), "data": In(shape)})


class WritePort(wiring.Signature):
    """Port through which a unit writes a memory; Amaranth's own write ports connect to it.

    Parameters
    ----------
    depth : :class:`int`
        Items of the memory.
    shape : shape of an item

    Members
    -------
    en : ``Out(1)``
        Strobe: store `data` at `addr`, both of the same cycle.
    addr : ``Out(range(depth))``
        Item to write.
    data : ``Out(shape)``
        What to store.
    """

    def __init__(self, depth: int, shape: ShapeLike):
        super().__init__({"en": Out(1), "addr": Out(range(depth)), "data": Out(shape)})


class RowReadPort(wiring.Signature):
    """Port through which the loader reads a byte of every bank of the activation memory.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        Gives banks B, and as many bytes as ``activation_words`` of `lanes`.

    Members
    -------
    row : ``Out(range(rows))``
        Row that banks from `split` on read; it has a byte of every bank.
    split : ``Out(range(B))``
        Banks below it read the next row, modulo the rows.
    data : ``In(ArrayLayout(signed(8), B))``
        A byte of every bank, `read_latency` cycles after `row` and `split`.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "row": Out(range(config.memory.activation_words >> config.load.wide_reads)),
                "split": Out(range(config.banks)),
                "data": In(data.ArrayLayout(signed(8), config.banks)),
            }
        )


class AddendPort(wiring.Signature):
    """Port through which fused residual additions read their other operand, a beat at a time.

    It shares the write port of the lanes that a beat has: in a cycle in which results of these are
    written it reads nothing, and beside an external memory only with `en`.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        Gives requantizers R, beats of a row (``drain_beats``) and rows (``activation_words``).

    Members
    -------
    row : ``Out(range(activation_words))``
        Word to read.
    beat : ``Out(range(drain_beats))``
        Which R lanes of it.
    en : ``Out(1)``
        They are wanted; only beside an external memory.
    data : ``In(ArrayLayout(signed(8), R))``
        Its bytes, ``ADDEND_LATENCY`` cycles after `row` and `beat`.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "row": Out(range(config.memory.activation_words)),
                "beat": Out(range(config.drain_beats)),
                **({"en": Out(1)} if config.memory.external_words else {}),
                "data": In(data.ArrayLayout(signed(8), config.output.requantizers)),
            }
        )


class EdgePort(wiring.Signature):
    """Port on which the loader says where rows of the map begin and end among a group's lanes.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    valid : ``Out(1)``
        Strobe, before the first word of the group.
    slot : ``Out(range(window_groups))``
        The group's place in the window ring.
    outside : ``Out(2 * lanes)``
        Of each lane, whether the pixel left of it and that right of it lie outside the map.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "valid": Out(1),
                "slot": Out(range(config.engine.window_groups)),
                "outside": Out(2 * config.engine.lanes),
            }
        )


class BeatWritePort(wiring.Signature):
    """Port through which the output stage writes a beat of a row of the activation memory.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        Gives requantizers R, beats of a row (``drain_beats``) and rows (``activation_words``).

    Members
    -------
    en : ``Out(1)``
        Strobe: store `data`; all members are of the same cycle.
    row : ``Out(range(activation_words))``
        Row to store into.
    beat : ``Out(range(drain_beats))``
        Banks ``beat*R`` to ``beat*R + R-1`` are stored.
    data : ``Out(ArrayLayout(signed(8), R))``
        Bytes to store, one a lane.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "en": Out(1),
                "row": Out(range(config.memory.activation_words)),
                "beat": Out(range(config.drain_beats)),
                "data": Out(data.ArrayLayout(signed(8), config.output.requantizers)),
            }
        )


class HostBus(wiring.Signature):
    """Word bus on which the host reads and writes the items of a space, 32 bits at a time.

    Parameters
    ----------
    items : :class:`int`
        Items of the space.
    words : :class:`int`
        32-bit words of an item.

    Members
    -------
    select : ``Out(1)``
        No network runs: memories are the host's, and so are the ports they share with an engine.
    address : ``Out(range(items))``
        Item to read or write.
    sub : ``Out(range(words))``
        Word within the item, the lowest first.
    write : ``Out(1)``
        Strobe: store `data` at `address` and `sub`, all of the same cycle.
    data : ``Out(32)``
        Word to store.
    result : ``In(32)``
        The word at the place that the bus has shown with `select` for the cycles that its user
        allows, see ``READ_LATENCY`` of :class:`.host.HostPort`.
    """

    def __init__(self, items: int, words: int):
        super().__init__(
            {
                "select": Out(1),
                "address": Out(range(items)),
                "sub": Out(range(words)),
                "write": Out(1),
                "data": Out(32),
                "result": In(32),
            }
        )


class MovedWord(data.StructLayout):
    """Access of the mover to the activation memory.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    address : ``range(activation_words)``, sub : ``range(lanes / 4)``
        Word of activations, and which 32 bits of it.
    write
        Whether `data` is stored there, else they are read.
    last
        Mark that comes back with what is read.
    data : ``32``
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "address": range(config.memory.activation_words),
                "sub": range(config.activation_item_words),
                "write": 1,
                "last": 1,
                "data": 32,
            }
        )


class MovedPort(wiring.Signature):
    """Port through which the mover reads and writes activations while layers run.

    Accesses take effect in their order, each as soon as the engine leaves its ports alone.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    access : ``Out(stream.Signature(MovedWord(config)))``
        What to read or to write. Whether it is taken depends on no access of the engine in the same
        cycle.
    found : ``In(1)``
        Strobe: a word that was to be read is here; nothing can make it wait.
    result : ``In(32)``, last : ``In(1)``
        The word and its mark, with `found`.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "access": Out(stream.Signature(MovedWord(config))),
                "found": In(1),
                "result": In(32),
                "last": In(1),
            }
        )
