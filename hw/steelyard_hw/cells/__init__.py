"""Cells of the vendors: multipliers, each with a portable twin that computes the same."""
