"""Cells of the vendors: multipliers, each with a portable twin, and how synthesis takes them."""
