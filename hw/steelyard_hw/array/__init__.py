"""The load-balanced sparse array: columns in lockstep, and the scheduler that feeds them."""
