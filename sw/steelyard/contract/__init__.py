"""What hardware and software agree on, each fact once.

Gateware, compiler, driver and simulation read it.

Configurations and descriptors; `docs/architecture.md` explains them to the bit.
"""
