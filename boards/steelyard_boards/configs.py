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
    lanes=16,
    columns=16,
    requantizers=4,
    multiplier_stages=4,
    activation_words=4096,
    weight_words=4096,
    parameter_words=512,
    partial_sum_channels=128,
)
"""ECP5-85F: 256 multiplications on 128 of 156 multipliers, and 12 more for the requantizers."""
