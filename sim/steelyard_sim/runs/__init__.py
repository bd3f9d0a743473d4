"""Long comparisons as commands of their own: ``python -m steelyard_sim.runs.NAME --help``."""
