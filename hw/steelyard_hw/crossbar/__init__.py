"""The crossbar tile: operation units that emulate an RRAM crossbar bit for bit."""
