"""Random cases: one network or layer, its stimulus and what must come out of the gateware."""
