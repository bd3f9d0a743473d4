"""Default configurations that several boards share."""

from steelyard.contract import configure

__all__ = [
    "GW1NR_COMPACT",
    "HX8K_COMPACT",
    "LARGE",
    "LARGE_EXTERNAL",
    "MIDDLE",
    "MIDDLE_EXTERNAL",
    "SMALL",
    "SMALL_EXTERNAL",
    "UP5K_COMPACT",
]

EXTERNAL_WORDS = 1 << 23
"""32 MB: what all boards with an SDRAM have."""

SMALL = configure(
    "array",
    lanes=4,
    columns=6,
    requantizers=1,
    activation_words=6144,
    weight_words=5120,
    parameter_words=512,
    max_layers=16,
    wide_reads=False,
    shared_taps=False,
    fused_additions=False,
)
"""ECP5-25F: 24 of 28 multipliers multiply weights; one requantizer is enough for four lanes, and
leaves no multipliers for fused additions. Words of six pixels would take twice the block RAM of
four."""
MIDDLE = configure(
    "array",
    lanes=8,
    columns=8,
    requantizers=2,
    activation_words=4096,
    weight_words=6144,
    max_layers=32,
    fused_additions=False,
)
"""ECP5-45F: 64 of 72 multipliers multiply weights, the others requantize."""
LARGE = configure(
    "array",
    lanes=16,
    columns=16,
    requantizers=4,
    multiplier_stages=3,
    activation_words=4096,
    weight_words=4096,
    parameter_words=512,
    partial_sum_channels=128,
)
"""ECP5-85F: 256 multiplications on 128 of 156 multipliers, 12 more for the requantizers, 4 for
pairs of activations and 8 for fused additions."""
# Weights come and go, so their memory may be smaller; the more activations stay, the fewer are
# moved. Moves are descriptors, too.
SMALL_EXTERNAL = SMALL.with_(
    external_words=EXTERNAL_WORDS, weight_words=2048, activation_words=8192, max_layers=128
)
MIDDLE_EXTERNAL = MIDDLE.with_(
    external_words=EXTERNAL_WORDS, weight_words=4096, activation_words=6144, max_layers=128
)
LARGE_EXTERNAL = LARGE.with_(
    external_words=EXTERNAL_WORDS,
    external_slots=2,
    activation_words=8192,
    parameter_words=2048,
    max_layers=128,
)
UP5K_COMPACT = configure(
    "array",
    "compact",
    lanes=4,
    columns=4,
    requantizers=1,
    accumulator_bits=22,
    window_groups=16,
    activation_words=1024,
    weight_words=16384,
    parameter_words=256,
    partial_sum_channels=64,
    max_layers=8,
    max_side=31,
    padded_kernel=3,
    vector_bits=0,
    link_words=256,
)
"""iCE40UP5K: all multipliers and block RAMs, 3 of 4 large RAMs (docs/notes/small-boards.md)."""
HX8K_COMPACT = UP5K_COMPACT.with_(columns=2, activation_words=512, weight_words=1536, vector_bits=8)
"""iCE40HX8K: products of logic, and weights in the block RAMs that the rest leaves."""
GW1NR_COMPACT = UP5K_COMPACT.with_(weight_words=3072, vector_bits=8)
"""GW1NR-9: one BSRAM less for each memory of 32 bits, so that weights find room."""
