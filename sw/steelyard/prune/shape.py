"""What pruning has to know of a configured crossbar."""

from ..engines.crossbar import CrossbarConfig
from .constraints import CrossbarShape

__all__ = ["shape_of"]


def shape_of(config: CrossbarConfig) -> CrossbarShape:
    """Shape of the crossbars and operation units of a configuration."""
    return CrossbarShape(config.rows, config.crossbar_weights, config.ou_rows, config.ou_weights)
