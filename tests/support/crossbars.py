"""Crossbars that tests draw, and what a converter does bit by bit."""

from steelyard.engines.crossbar import CrossbarConfig


def random_config(rng):
    """Any legal configuration with small crossbars."""
    cell_bits, dac_bits = (int(rng.choice([1, 2, 4, 8])) for _ in range(2))
    signed = str(rng.choice(["differential", "offset"]))
    bitlines = 8 // cell_bits * (2 if signed == "differential" else 1)
    weights = int(rng.integers(1, 4))
    ou_rows = int(rng.integers(1, 13))
    return CrossbarConfig(
        rows=ou_rows + int(rng.integers(0, 20)),
        columns=weights * bitlines + int(rng.integers(0, 70)),
        ou_rows=ou_rows,
        ou_columns=weights * bitlines,
        cell_bits=cell_bits,
        dac_bits=dac_bits,
        adc_bits=int(rng.integers(1, 14)),
        adc_range=str(rng.choice(["unit", "full"])),
        adc_rounding=str(rng.choice(["floor", "nearest"])),
        signed=signed,
        adc_resolve=str(rng.choice(["all", "reach"])),
    )


def approximated(config, total, bits):
    """What a converter makes of a sum that tries its bits one by one, from the last of `bits`."""
    code, least = 0, int(config.convert(total)) >> config.adc_shift
    for bit in reversed(range(bits)):
        code |= (code | 1 << bit <= least) << bit
    return code << config.adc_shift
