"""Host port of an accelerator: commands, spaces, registers and counters.

Section 7 of docs/architecture.md explains them.
"""

from enum import IntEnum, IntFlag

from .words import pack

__all__ = [
    "COMMAND_FIELDS",
    "COUNTERS",
    "MAGIC",
    "REGISTERS",
    "UNIT_COUNTERS",
    "VERSION",
    "Command",
    "Register",
    "Space",
    "Status",
    "command_word",
]

MAGIC = 0x594C5453
"""First register: the letters STLY."""
VERSION = 4
"""Version of the register map, the commands and the descriptors."""


class Command(IntEnum):
    """What the host asks for: the high byte of a command's first word."""

    WRITE = 1
    READ = 2
    START = 3


class Space(IntEnum):
    """Memories behind the host port."""

    REGISTERS = 0
    DESCRIPTORS = 1
    PARAMETERS = 2
    WEIGHTS = 3
    ACTIVATIONS = 4
    COUNTERS = 5
    UNITS = 6
    """Counters of the crossbar tile's operation units: 64 bits each, none with the array."""
    EXTERNAL = 7
    """External memory, where there is one."""


COMMAND_FIELDS = {"space": 3, "reserved": 21, "operation": 8}
"""Fields of a command's first word, the lowest first, with their bits; ``reserved`` is 0."""


def command_word(command: Command, space: Space = Space.REGISTERS) -> int:
    """First word of a command; START names no space."""
    return pack(COMMAND_FIELDS, space=space, operation=command)


class Register(IntEnum):
    """Address in :attr:`Space.REGISTERS`."""

    MAGIC = 0
    VERSION = 1
    HASH = 2
    """First of eight: SHA-256 of the configuration, its first byte in the lowest of this one."""
    STATUS = 10
    """:class:`Status`."""
    TOTAL = 11
    """Cycles of the last START, from start to done."""
    READ_LATENCY = 12
    """Cycles of the external memory that a read takes from pins to pins, 0 for what the board was
    made with; the only one that is written, and only where there is such a memory."""
    MOVED_CRC = 13
    """CRC of the words that the last START has moved from the external memory, in the order of its
    descriptors, see :mod:`steelyard.contract.checksum`."""


READ_LATENCIES = range(2, 16)
"""Latencies that :attr:`Register.READ_LATENCY` may choose."""
REGISTERS = 14
"""Registers with a meaning; those after them are 0."""


class Status(IntFlag):
    """Bits of :attr:`Register.STATUS`."""

    BUSY = 1
    DONE = 2
    """Done since the last START."""


COUNTERS = (
    "cycles",
    "issue",
    "stall_load",
    "stall_weights",
    "stall_drain",
    "words_loaded",
    "words_written",
    "vector_operations",
)
"""Counters of an executed layer, in the order of their words."""
UNIT_COUNTERS = (
    "ou_steps",
    "ou_skipped",
    "adc_conversions",
    "dac_drives",
    "cell_reads",
    "adc_left_out",
    "adc_decisions",
)
"""Counters of an executed layer's operation units, in the order of their items of 64 bits; a layer
has as many items as `COUNTERS`, of which those after these are 0. So are the last two where
converters resolve all bits."""
