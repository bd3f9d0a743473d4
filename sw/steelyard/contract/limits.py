"""Limits of the number contract: what a descriptor, a requantizer and a walk can hold."""

MAX_SIDE = 65535
"""Channels, height or width of a tensor."""
MAX_PADDED_KERNEL = 7
"""Side of a kernel with padding."""
MAX_KERNEL = 256
"""Side of a kernel without padding."""
MAX_CONV_STRIDE = 2
MAX_POOL_STRIDE = 15
MAX_MULTIPLIER = (1 << 24) - 1
MAX_SHIFT = 63
MAX_K = 32
"""Weights kept in a group: no group is larger."""
MAX_POSITIONS = 1 << 24
"""Weights of one output channel."""
