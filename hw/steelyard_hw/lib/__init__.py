"""Small parts that several rooms use: countdowns, delays, finding Yosys, helpers for tests."""
