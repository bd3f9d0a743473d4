"""Limits of the number contract: what a descriptor, a requantizer and a walk can hold."""

__all__ = [
    "BLOCKS",
    "MAX_CONV_STRIDE",
    "MAX_K",
    "MAX_KERNEL",
    "MAX_MULTIPLIER",
    "MAX_PADDED_KERNEL",
    "MAX_PADDING",
    "MAX_POOL_STRIDE",
    "MAX_POSITIONS",
    "MAX_SHIFT",
    "MAX_SIDE",
    "MOST_DESCRIPTORS",
    "MULTIPLIER_BITS",
    "TABLE_ENTRIES",
    "TABLE_ITEMS",
]

MAX_SIDE = 65535
"""Channels, height or width of a tensor."""
MAX_PADDED_KERNEL = 7
"""Side of a kernel with padding."""
MAX_PADDING = 255
"""Rows or columns that a layer of its own puts on a side of a map."""
MAX_KERNEL = 256
"""Side of a kernel without padding."""
MAX_CONV_STRIDE = 4
MAX_POOL_STRIDE = 15
MULTIPLIER_BITS = 24
"""Bits of a requantizer's multiplier."""
MAX_MULTIPLIER = (1 << MULTIPLIER_BITS) - 1
MAX_SHIFT = 63
"""Shift of a requantizer."""
MAX_K = 32
"""Weights that are kept of a group."""
MAX_POSITIONS = 1 << 24
"""Weights of an output channel."""
TABLE_ENTRIES = 256
"""Results of a table, one for each int8 code."""
TABLE_ITEMS = TABLE_ENTRIES // 8
"""Parameter items that a table takes, 8 codes an item."""
MOST_DESCRIPTORS = 65535
"""Descriptors of a run."""
BLOCKS = 8
"""Parts of the descriptor memory, each loaded at once where descriptors come in turn."""
