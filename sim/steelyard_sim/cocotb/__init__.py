"""Drivers of the gateware's ports for testbenches that run under cocotb."""
