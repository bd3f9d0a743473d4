"""Small parts that several rooms use: countdowns, helpers for tests and synthesis."""
