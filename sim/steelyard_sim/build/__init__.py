"""Compiled simulations: from a configuration to a shared library, kept in a cache."""
