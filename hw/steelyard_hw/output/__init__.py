"""Output: the vector unit for layers without weights, requantization and the way to memory."""
