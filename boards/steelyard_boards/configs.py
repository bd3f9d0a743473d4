"""Default configurations that several boards share."""

from steelyard.config import ArrayConfig

__all__ = ["LARGE", "MIDDLE", "SMALL"]

SMALL = ArrayConfig(
    lanes=4,
    columns=6,
    requantizers=1,
    activation_words=6144,
    weight_words=5120,
    parameter_words=512,
    max_layers=16,
)
"""ECP5-25F: 24 of 28 multipliers multiply weights; one requantizer is enough for four lanes."""
MIDDLE = ArrayConfig(
    lanes=8,
    columns=8,
    requantizers=2,
    activation_words=4096,
    weight_words=6144,
    max_layers=32,
)
"""ECP5-45F: 64 of 72 multipliers multiply weights."""
LARGE = ArrayConfig(
    lanes=8,
    columns=8,
    requantizers=4,
    activation_words=8192,
    weight_words=8192,
)
"""ECP5-85F: routes quickly; half of the multipliers and of the block RAM stay free."""
