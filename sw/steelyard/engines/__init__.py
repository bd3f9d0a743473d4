"""Engines: what computes layers with weights, each in a room of its own.

:mod:`steelyard.contract.registry` lists them.
"""

from .engine import Engine, Limits, Plan

__all__ = ["Engine", "Limits", "Plan"]
