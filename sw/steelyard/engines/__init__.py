"""Engines: what computes layers with weights. Each has its own room."""
