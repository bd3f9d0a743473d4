"""Random configurations of the tile whose fields together meet most pairs of values.

Everything follows from a seed and knows no simulator.
"""

from itertools import combinations

import numpy as np

from steelyard.contract import AcceleratorConfig, configure
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.engines.crossbar.crossbar import (
    ADC_RANGES,
    ADC_RESOLVES,
    ADC_ROUNDINGS,
    OU_FORMATIONS,
    SIGNED_SCHEMES,
)
from steelyard.errors import UserError

__all__ = ["Pair", "covering_configs", "pairs", "possible_pairs", "traits"]

CELLS = 1000
"""Cells times lanes of an item at most: what a simulation takes to compile grows with them."""
ATTEMPTS = 1000
CANDIDATES = 60
SAMPLE = 4000
"""Configurations whose pairs are taken for all that there are."""
POSITIONS = 144
"""Least window memory: a 3x3 kernel over 16 channels."""

Pair = tuple[str, str]


def random_config(rng: np.random.Generator) -> AcceleratorConfig:
    """Random tile around a random crossbar, over every field of both."""
    refused: UserError | None = None
    for _ in range(ATTEMPTS):
        try:
            return _drawn(rng)
        except UserError as error:
            # A weight item of these operation units is too long.
            refused = error
    raise ValueError("No configuration was found") from refused


def _drawn(rng: np.random.Generator) -> AcceleratorConfig:
    while True:
        cell_bits, dac_bits = (int(rng.choice([1, 2, 4, 8])) for _ in range(2))
        signed = str(rng.choice(SIGNED_SCHEMES))
        bitlines = 8 // cell_bits * (2 if signed == "differential" else 1)
        low, high = ((1, 2), (2, 5), (5, 10), (10, 17))[int(rng.integers(4))]
        ou_rows = int(rng.integers(low, high))
        ou_columns = bitlines * int(rng.choice([1, 2, 3, 4, 6]))
        lanes, parallel = int(rng.choice([4, 8, 16, 32])), int(rng.choice([1, 2, 4]))
        if lanes * parallel * ou_rows * ou_columns <= CELLS:
            break
    greatest = ou_rows * ((1 << dac_bits) - 1) * ((1 << cell_bits) - 1)
    exact = greatest.bit_length()
    group = int(rng.choice([4, 8, 16, 32]))
    least = -(-POSITIONS // group)
    tight = rng.random() < 0.3
    return configure(
        "crossbar",
        lanes=lanes,
        group=group,
        requantizers=lanes >> int(rng.integers(0, 3)),
        accumulator_bits=int(rng.integers(16, 33)),
        window_groups=1 << (least - 1).bit_length() + int(rng.integers(0, 2)),
        activation_words=16 * int(rng.integers(64, 128)),
        weight_words=4096,
        parameter_words=16 * int(rng.integers(6, 12)),
        partial_sum_channels=int(rng.integers(4, 65)),
        max_layers=int(rng.integers(8, 33)),
        max_side=(1 << int(rng.integers(8, 17))) - 1,
        padded_kernel=int(rng.choice([3, 5, 7])),
        vector_bits=int(rng.choice([16, 20, 24])),
        link_words=int(rng.choice([32, 512])),
        ou_parallel=parallel,
        crossbar=CrossbarConfig(
            rows=ou_rows + (0 if tight else int(rng.integers(1, 60))),
            columns=ou_columns + (0 if tight else bitlines * int(rng.integers(1, 12))),
            ou_rows=ou_rows,
            ou_columns=ou_columns,
            cell_bits=cell_bits,
            dac_bits=dac_bits,
            adc_bits=int(rng.choice([1, (exact + 1) // 2, max(exact - 1, 1), exact, exact + 1])),
            adc_range=str(rng.choice(ADC_RANGES)),
            adc_rounding=str(rng.choice(ADC_ROUNDINGS)),
            signed=signed,
            constants=str(rng.choice(["isaac32", "mnsim", "yu2020"])),
        ),
    )


def traits(config: AcceleratorConfig) -> list[str]:
    """Values of the fields that meet in pairs, in words; sizes in classes."""
    unit = config.engine.crossbar
    exact = unit.greatest_sum.bit_length()
    short = "1 bit" if unit.adc_bits == 1 else "few bits"
    adc = short if unit.adc_bits < exact else "exact" if unit.adc_bits == exact else "spare"
    return [
        f"lanes {config.engine.lanes}",
        f"group {config.engine.group}",
        f"beats {config.drain_beats}",
        f"OUs in parallel {config.engine.ou_parallel}",
        f"OU rows {_size_class(unit.ou_rows)}",
        f"OU weights {_size_class(unit.ou_weights)}",
        f"cell bits {unit.cell_bits}",
        f"DAC bits {unit.dac_bits}",
        f"ADC {adc}",
        f"range {unit.adc_range}",
        f"rounding {unit.adc_rounding}",
        f"scheme {unit.signed}",
        f"crossbar of one OU {(unit.rows, unit.columns) == (unit.ou_rows, unit.ou_columns)}",
    ]


def _size_class(size: int) -> str:
    for most, name in ((1, "1"), (4, "2 to 4"), (9, "5 to 9")):
        if size <= most:
            return name
    return "10 or more"


def pairs(config: AcceleratorConfig) -> set[Pair]:
    """Pairs of values that a configuration has."""
    return set(combinations(traits(config), 2))


def possible_pairs(seed: int) -> set[Pair]:
    """Pairs of a great many random configurations."""
    rng = np.random.default_rng([seed, 6])
    return set().union(*(pairs(random_config(rng)) for _ in range(SAMPLE)))


def covering_configs(
    seed: int, count: int, formation: str | None = None
) -> list[AcceleratorConfig]:
    """Configurations, each with more new pairs than others that were drawn beside it.

    Parameters
    ----------
    formation : of all of them, `ou_formation`; by default half of them have either
    """
    rng = np.random.default_rng([seed, 5])
    met: set[Pair] = set()
    chosen: list[AcceleratorConfig] = []
    for _ in range(count):
        candidates = [random_config(rng) for _ in range(CANDIDATES)]
        if formation is not None:
            candidates = [own for own in candidates if _formed(own, formation) is not None]
        best = max(candidates, key=lambda config: len(pairs(config) - met))
        met |= pairs(best)
        # Not drawn, so that neither fields nor pairs depend on it: converters of every second
        # one, from the first, stop at the bits that bitlines reach, and in the second and third of
        # every four rows with an input bit form operation units.
        number = len(chosen)
        unit = best.engine.crossbar.with_(adc_resolve=ADC_RESOLVES[(number + 1) % 2])
        best = best.with_(crossbar=unit)
        own = formation or OU_FORMATIONS[(number + 1) // 2 % 2]
        chosen.append(_formed(best, own) or best)
    return chosen


def _formed(config: AcceleratorConfig, formation: str) -> AcceleratorConfig | None:
    """The same with such a formation; None if a weight item is too long for it."""
    try:
        return config.with_(crossbar=config.engine.crossbar.with_(ou_formation=formation))
    except UserError:
        return None
