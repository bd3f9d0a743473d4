"""Loading: from the activation memory to window words, tile by tile, for every engine."""
