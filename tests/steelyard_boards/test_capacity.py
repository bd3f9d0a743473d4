"""Estimates against what the tools made, and refusals with the amounts."""

import itertools
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from steelyard.compile import compile as compile_program
from steelyard.compile.cycles import predict_program, predict_total
from steelyard.contract import AcceleratorConfig, configure
from steelyard.contract.descriptor import Descriptor
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.errors import DoesNotFit
from steelyard_boards import board
from steelyard_boards.capacity import check
from steelyard_boards.demo import demo_cycles, demo_network
from steelyard_boards.families.ecp5 import ECP5, LFE5_25F
from steelyard_boards.families.ecp5_luts import COSTS, ERROR, LUTS, SHAPES, amounts
from steelyard_boards.families.memories import mapped

BARE = {
    "tables": False, "slopes": False, "products": False, "lane_sums": False, "wide_reads": False,
    "additions": False, "fused_additions": False,
}  # fmt: skip
"""Without operators and wide reads, as these designs were synthesized. Their additions were others,
of two beats, with a queue in place of a multiplier: see `QUEUE`."""
QUEUE = 83
"""Cells of that queue for each requantizer (docs/notes/operators.md)."""
WIDE = {"activation_words": 2048, "parameter_words": 512, "max_layers": 32}
SYNTHESIZED = [
    (board("ulx3s_25f").default, 51, 27),
    (board("ulx3s_45f").default, 85, 70),
    (configure("array", lanes=8, columns=8, requantizers=4, weight_words=8192), 99, 76),
    (configure("array", lanes=16, columns=8, requantizers=8, **WIDE), 94, 152),
    (board("ulx3s_85f").default, 157, 140),
]
"""Block RAMs and multipliers that nextpnr counted in designs with link and PLL
(docs/notes/bitstreams.md)."""


@pytest.mark.parametrize(("config", "block_rams", "multipliers"), SYNTHESIZED)
def test_the_estimate_is_what_synthesis_makes(config, block_rams, multipliers):
    needs = ECP5.demand(config.with_(**BARE, shared_taps=False))
    assert (needs.block_rams, needs.multipliers) == (block_rams, multipliers)


TILE = configure(
    "crossbar",
    lanes=4,
    group=16,
    requantizers=1,
    window_groups=32,
    activation_words=1024,
    weight_words=256,
    parameter_words=256,
    partial_sum_channels=64,
    max_layers=8,
    **BARE,
)
TILES = [
    (TILE, (6763, 1562, 81), 27, 6),
    (TILE.with_(crossbar=CrossbarConfig(ou_rows=16)), (8558, 2029, 137), 34, 6),
    (TILE.with_(crossbar=CrossbarConfig(ou_columns=16)), (9780, 2278, 156), 36, 6),
    (TILE.with_(ou_parallel=2), (9773, 2278, 156), 36, 9),
    (TILE.with_(crossbar=CrossbarConfig(cell_bits=1, ou_columns=16)), (5588, 1142, 43), 22, 6),
    (TILE.with_(crossbar=CrossbarConfig(dac_bits=2)), (6526, 1709, 81), 27, 294),
    (TILE.with_(lanes=8), (10588, 2418, 82), 36, 6),
    (TILE.with_(requantizers=4), (7630, 2073, 81), 27, 15),
    (TILE.with_(crossbar=CrossbarConfig(cell_bits=2)), (5766, 1118, 43), 22, 6),
    (TILE.with_(crossbar=CrossbarConfig(adc_bits=4)), (6598, 1481, 81), 27, 6),
    (TILE.with_(crossbar=CrossbarConfig(signed="offset")), (7565, 1578, 84), 27, 6),
    (TILE.with_(crossbar=CrossbarConfig(dac_bits=8, ou_rows=4)), (4917, 1578, 41), 22, 134),
    (configure("crossbar", **BARE), (21060, 5365, 90), 198, 27),
]
"""Cells that yosys counted on the ulx3s_85f, with link and PLL: LUT4, CCU2C and LUT RAMs, then
block RAMs and multipliers (docs/notes/bitstreams.md)."""


@pytest.mark.parametrize(("config", "logic", "block_rams", "multipliers"), TILES)
def test_the_estimate_of_a_tile_is_what_synthesis_makes(config, logic, block_rams, multipliers):
    needs = ECP5.demand(config)
    assert needs.multipliers == multipliers
    assert needs.block_rams == block_rams
    tables, carries, memories = logic
    assert needs.luts + QUEUE * config.output.requantizers == pytest.approx(
        1.09 * (tables + 2 * carries + 4 * memories), rel=0.04
    )


def test_a_tile_that_is_too_large_is_told_its_own_fields():
    board("ulx3s_25f").check(TILE)
    assert refusal("ulx3s_25f", TILE.with_(crossbar=CrossbarConfig(dac_bits=2))) == (
        "Board 'ulx3s_25f' has 28 multipliers and the configuration needs 294: 291 for cells and "
        "counters of the crossbar tile of 4 lanes with 1 operation unit of 9 x 8 and 3 for each of "
        "1 requantizers; use fewer dac_bits, ou_rows, ou_columns or requantizers."
    )
    assert refusal("ulx3s_25f", TILE.with_(weight_words=8192)) == (
        "Board 'ulx3s_25f' has 56 block RAMs and the configuration needs 169; use fewer than 1024 "
        "activation_words, 8192 weight_words, 32 window_groups or 64 partial_sum_channels."
    )
    large = TILE.with_(lanes=32, ou_parallel=4, crossbar=CrossbarConfig(ou_rows=14))
    assert refusal("ulx3s_85f", large).endswith(
        "use fewer lanes, ou_rows, ou_columns, ou_parallel or requantizers."
    )


def refusal(name, config, program=None):
    """The sentence that refuses, which must come within a second."""
    began = time.process_time()
    with pytest.raises(DoesNotFit) as caught:
        board(name).check(config, program)
    assert time.process_time() - began < 1
    return str(caught.value)


def test_too_many_multipliers_are_refused():
    assert refusal("ulx3s_25f", configure("array", lanes=8, columns=8, requantizers=4)) == (
        "Board 'ulx3s_25f' has 28 multipliers and the configuration needs 88: 8 lanes x 8 columns "
        "and 6 for each of 4 requantizers; use fewer columns or requantizers."
    )


def test_too_much_memory_is_refused():
    config = board("ulx3s_25f").default.with_(activation_words=16384)
    assert refusal("ulx3s_25f", config) == (
        "Board 'ulx3s_25f' has 56 block RAMs and the configuration needs 73; use fewer than 16384 "
        "activation_words, 5120 weight_words or 6 columns."
    )


def test_too_many_luts_are_refused():
    # No configuration of these boards runs out of LUTs before multipliers; a smaller device does.
    small = replace(LFE5_25F, luts=6000)
    with pytest.raises(DoesNotFit) as caught:
        check("small", small, board("ulx3s_25f").default)
    needs = ECP5.demand(board("ulx3s_25f").default).luts
    assert str(caught.value) == (
        f"Board 'small' has 6000 LUTs, of which 5400 can be routed, and the configuration needs "
        f"about {needs}; use fewer lanes, columns or requantizers."
    )


def test_a_program_of_another_configuration_is_refused():
    large = board("ulx3s_85f").default
    program = compile_program(demo_network(), large)
    board("ulx3s_85f").check(large, program)
    assert refusal("ulx3s_85f", large.with_(weight_words=2048), program) == (
        "The program was compiled for another configuration than board 'ulx3s_85f' gets "
        "(weight_words: 2048 != 4096); compile it with that configuration."
    )


def test_the_demo_network_takes_as_long_as_the_pruned_one():
    # 10 before each of its twelve layers, of which additions are fused, and 34 before the first.
    default = board("ulx3s_85f").default
    assert demo_cycles(default) == 18_200 + 10 * 10 + 34
    apart = default.with_(fused_additions=False)
    assert demo_cycles(apart) == 20_992 + 12 * 10 + 34
    plain = apart.with_(wide_reads=False, shared_taps=False, lane_sums=False)
    assert demo_cycles(plain) == 30_094 + 12 * 10 + 34


def test_the_demo_network_may_not_fit():
    assert demo_cycles(board("ulx3s_85f").default.with_(activation_words=1024)) is None


def test_the_icebreakers_multipliers_serve_two_lanes_only_in_compact_configurations():
    family = board("icebreaker").device.family
    compact = board("icebreaker").default
    sizes = {"lanes": 4, "columns": 1, "requantizers": 1, "activation_words": 1024}
    plain = configure("array", **sizes, accumulator_bits=22, weight_words=1024)
    assert family.demand(compact).multipliers == compact.engine.columns * 2
    assert (
        family.demand(plain).multipliers == 4 + 3 + plain.vector.pairs + 2 * plain.fuses_additions
    )
    # Inference would change instantiated multipliers.
    assert "-dsp" not in family.synthesis_of(compact).split()
    assert "-dsp" in family.synthesis_of(plain).split()


def test_the_tiles_cycles_are_those_of_its_program():
    """A descriptor alone does not tell them: it says nothing of operation units."""
    config = configure("crossbar", weight_words=32768, parameter_words=1024)
    program = compile_program(demo_network(), config)
    found = demo_cycles(config)
    assert found == predict_program(program)
    assert found > sum(entry.ideal_cycles for entry in program.layers) > 0
    layers = [Descriptor.from_words(words) for words in program.descriptors]
    with pytest.raises(ValueError, match=r"tile's convolution .* \(predict_program\)"):
        predict_total(layers, config)
    array = compile_program(demo_network(), configure("array"))
    layers = [Descriptor.from_words(words) for words in array.descriptors]
    assert demo_cycles(configure("array")) == predict_total(layers, array.config)


def measured():
    """Configurations that were synthesized: those that the laws come from, and those held out."""
    data = Path(__file__).parents[2] / "experiments" / "estimators.json"
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    made = [(row, AcceleratorConfig.from_dict(row["config"])) for row in rows]
    return [[each for each in made if each[0]["held_out"] == held_out] for held_out in (0, 1)]


def test_the_laws_of_luts_follow_from_what_was_synthesized():
    fitted, _ = measured()
    made = [amounts(config) for _, config in fitted]
    assert made[0].keys() == LUTS.keys()
    for part, luts in LUTS.items():
        assert made[0][part].keys() == luts.keys()
        counted = np.array([row["parts"].get(part, 0) for row, _ in fitted])
        table = np.array([[float(each[part][name]) for name in luts] for each in made])
        found, _, rank, _ = np.linalg.lstsq(table, counted, rcond=None)
        assert rank == len(luts)
        assert list(luts.values()) == pytest.approx(list(found), abs=0.0051)


def test_parts_add_up_to_what_placement_counts():
    rows = [row for row, _ in itertools.chain(*measured()) if "parts" in row]
    assert len(rows) > 20
    for row in rows:
        assert sum(row["parts"].values()) == pytest.approx(row["lut"], rel=0.004)


def test_estimates_are_as_near_to_what_was_synthesized_as_the_documents_say():
    fitted, held_out = measured()
    errors = {}
    for name, rows in (("fitted", fitted), ("held out", held_out)):
        errors[name] = []
        for row, config in rows:
            needs = board(row["board"]).device.family.demand(config)
            assert needs.multipliers == row["multipliers"]
            assert needs.block_rams == row["block_rams"]
            errors[name].append(needs.luts / row["lut"] - 1)
    worst = max(map(abs, errors["held out"]))
    assert worst <= ERROR < 1.5 * worst
    notes = (Path(__file__).parents[2] / "docs" / "notes" / "explore.md").read_text("utf-8")
    for name, own in errors.items():
        low, high, middle = (f"{100 * f(own):+.1f} %" for f in (min, max, statistics.median))
        mean = f"{100 * statistics.fmean(each**2 for each in own) ** 0.5:.1f} %"
        assert f"| {name} | {len(own)} | {low} to {high} | {middle} | {mean} |" in notes


def test_what_fits_by_its_estimate_fits():
    """The share that the router does not need is more than estimates are off."""
    assert ECP5.luts_error == ERROR
    assert ECP5.routable * (1 + ERROR) < 1
    assert ECP5.error_of(TILE) is None


@pytest.mark.parametrize(
    ("depth", "bits", "block_rams"),
    [(5456, 32, 12), (5456, 25, 9), (14576, 26, 23), (38896, 11, 30), (32, 32, 0), (33, 32, 1)],
)  # fmt: skip
def test_a_memory_takes_the_block_rams_that_cost_yosys_least(depth, bits, block_rams):
    assert mapped(SHAPES, depth, bits, COSTS).block_rams == block_rams


def test_a_memory_without_costs_takes_the_fewest_block_rams():
    assert mapped(SHAPES, 5456, 32).block_rams == 11
