"""Small parts that several rooms use: countdowns, delays, helpers for tests and synthesis."""
