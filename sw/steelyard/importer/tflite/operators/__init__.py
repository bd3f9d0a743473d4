"""Handlers of TFLite operators, which enter the registry when they are imported."""

from steelyard.importer.tflite.operators import codes, linear, moves, pooling, views

__all__ = ["codes", "linear", "moves", "pooling", "views"]
