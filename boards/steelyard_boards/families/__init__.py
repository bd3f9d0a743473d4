"""FPGA families: devices, clocks from an oscillator, and what a configuration needs of each."""

from .family import Clock, Demand, Device, Family

__all__ = ["Clock", "Demand", "Device", "Family"]
