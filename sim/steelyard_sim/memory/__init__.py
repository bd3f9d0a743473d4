"""Models of external memories, which check every rule, and simulations with them."""
