"""Constraints of crossbar-aware pruning: shapes, budgets, and what mappings make of them."""

import numpy as np
import pytest
import torch

from steelyard.engines.crossbar import CrossbarConfig, map_layer, matrix_of, row_sets
from steelyard.errors import UserError
from steelyard.prune import (
    CONSTRAINTS,
    CrossbarShape,
    KernelPatterns,
    MatrixShape,
    MixedGranularity,
    OuRows,
    Structured,
    Unstructured,
    constraint_of,
)
from steelyard.prune.groups import from_rows
from steelyard.prune.mixed import join
from steelyard.prune.patterns import histogram

SMALL = CrossbarShape(rows=64, channels=12, ou_rows=9, ou_channels=2)
CONFIG = CrossbarConfig(rows=64, columns=48)
SHAPES = [MatrixShape(16, 12, 9), MatrixShape(7, 5, 9), MatrixShape(10, 40, 1, True)]


def energy_of(shape: MatrixShape, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape.channels, shape.positions, generator=generator).double()
    # Some inputs and filters matter more than others, as in trained layers.
    rows = torch.rand(shape.channels, 1, generator=generator).double()
    columns = torch.rand(shape.positions, generator=generator).double()
    return (values * rows * columns).square()


def as_weight(mask: torch.Tensor, shape: MatrixShape) -> np.ndarray:
    height = 1 if shape.taps == 1 else int(shape.taps**0.5)
    size = torch.Size((shape.channels, shape.inputs, height, shape.taps // height))
    return from_rows(mask, size).numpy().astype(np.int8)


def mapped_weights(mask: torch.Tensor, shape: MatrixShape, mapping: str) -> int:
    weight = as_weight(mask, shape)
    return map_layer(weight, CONFIG, mapping, fully_connected=shape.fully_connected).weights


@pytest.mark.parametrize("name", CONSTRAINTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("keep", [0.1, 0.25, 0.6])
def test_every_constraint_meets_its_budget_and_repeats_itself(name, shape, keep):
    constraint, energy = constraint_of(name, SMALL), energy_of(shape)
    mask = constraint.project(energy, shape, keep)
    assert mask.dtype == torch.bool
    assert mask.shape == energy.shape
    if name != "balanced" or shape.positions % 16 == 0:
        assert 0 < int(mask.sum()) <= keep * mask.numel() + SMALL.ou_rows * SMALL.ou_channels
    assert torch.equal(mask, constraint.project(energy, shape, keep))
    best = Unstructured().project(energy, shape, max(keep, float(mask.double().mean())))
    assert float(energy[mask].sum()) <= float(energy[best].sum()) * (1 + 1e-12)
    assert float(energy[mask].sum()) > 0.5 * keep * float(energy.sum())


@pytest.mark.parametrize("shape", [*SHAPES, MatrixShape(3, 4, 25), MatrixShape(3, 4, 49)])
def test_positions_and_row_sets_are_those_of_the_crossbar(shape):
    height = 1 if shape.taps == 1 else int(shape.taps**0.5)
    size = (shape.channels, shape.inputs, height, shape.taps // height)
    expected = row_sets(size, CONFIG, fully_connected=shape.fully_connected)
    assert shape.row_sets(SMALL).tolist() == expected.tolist()
    rows = torch.arange(shape.channels * shape.positions).reshape(shape.channels, -1) % 100
    assert np.array_equal(matrix_of(as_weight(rows, shape)), rows.numpy().T)


def test_sets_of_filled_up_runs_read_no_weight_twice():
    shape = MatrixShape(3, 10, 1, True)
    assert shape.row_sets(CrossbarShape(ou_rows=4, rows=4)).tolist()[-1] == [8, 9, -1, -1]
    mask = KernelPatterns(2, CrossbarShape(ou_rows=4)).project(energy_of(shape), shape, 1.0)
    assert bool(mask.all())


@pytest.mark.parametrize("patterns", [1, 3, 8])
def test_kernels_have_no_more_than_the_wanted_patterns(patterns):
    shape = SHAPES[0]
    mask = KernelPatterns(patterns, SMALL).project(energy_of(shape), shape, 0.2)
    kernels = mask[:, shape.row_sets(SMALL)].reshape(-1, 9)
    found = kernels.unique(dim=0)
    assert int(found.any(1).sum()) <= patterns
    assert bool((~kernels.any(1)).any())
    assert mapped_weights(mask, shape, "pattern") == int(mask.sum())


def test_every_kernel_takes_the_pattern_that_gains_most():
    shape, constraint = SHAPES[0], KernelPatterns(4, SMALL, kernel_cost=1.0)
    energy = energy_of(shape)
    mask = constraint.project(energy, shape, 0.3)
    kernels = energy[:, shape.row_sets(SMALL)].reshape(-1, 9)
    chosen = mask[:, shape.row_sets(SMALL)].reshape(-1, 9)
    patterns = chosen.unique(dim=0)
    patterns = patterns[patterns.any(1)]
    # No price at all explains a choice that another pattern beats in energy with fewer weights.
    kept = (kernels * chosen).sum(1)
    for pattern in patterns:
        other = (kernels * pattern).sum(1)
        fewer = (pattern.sum() <= chosen.sum(1)) & chosen.any(1)
        assert not bool((fewer & (other > kept + 1e-12)).any())


def test_usefulness_of_a_pattern_is_energy_and_not_frequency():
    kernels = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 5.0, 4.0], [0, 0, 0]]).double()
    found = histogram(kernels, kernels > 0)
    assert found.tolist() == [[False, True, True], [True, False, False]]


def test_dear_kernels_leave_more_of_them_empty():
    shape = SHAPES[0]
    empty = []
    for cost in (0.0, 4.0):
        mask = KernelPatterns(8, SMALL, cost).project(energy_of(shape), shape, 0.3)
        kernels = mask[:, shape.row_sets(SMALL)]
        empty.append(float((~kernels.any(2)).double().mean()))
    assert empty[1] > empty[0]


def test_even_patterns_keep_as_many_kernels_of_every_input_channel():
    shape = SHAPES[0]
    mask = KernelPatterns(4, SMALL, even=True).project(energy_of(shape), shape, 0.3)
    counts = mask[:, shape.row_sets(SMALL)].any(2).sum(0)
    assert len(counts.unique()) == 1
    assert 0 < int(counts[0]) < shape.channels


def test_structured_removes_whole_filters_and_input_channels():
    shape = SHAPES[0]
    mask = Structured().project(energy_of(shape), shape, 0.3)
    rows, columns = mask.any(1), mask.any(0)
    assert torch.equal(mask, rows[:, None] & columns)
    by_tap = columns.reshape(shape.taps, shape.inputs)
    assert bool((by_tap == by_tap[0]).all())
    assert mapped_weights(mask, shape, "structured") == int(mask.sum())


@pytest.mark.parametrize("shape", SHAPES)
def test_ou_rows_keep_whole_operation_units_of_adjacent_channels(shape):
    mask = OuRows(SMALL).project(energy_of(shape), shape, 0.3)
    for first in range(0, shape.channels, 2):
        pair = mask[first : first + 2]
        assert bool((pair == pair[0]).all())
        count = int(pair[0].sum())
        assert count % 9 in (0, shape.positions % 9)
    assert mapped_weights(mask, shape, "ou_row") == int(mask.sum())


@pytest.mark.parametrize("width", [None, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_mixed_strips_are_whole_operation_units_that_the_mapping_finds_again(shape, width):
    rule = MixedGranularity(SMALL, remove=0.3, whole=2.0, width=width)
    mask = rule.project(energy_of(shape), shape, 0.25)
    for channels, rows in shape.parts(SMALL):
        part = mask[channels, rows]
        for column in part:
            assert int(column.sum()) % 9 in (0, part.shape[1] % 9)
    # Columns pruned together share their rows, and those pruned alone hardly any.
    mapped = mapped_weights(mask, shape, "mixed")
    assert int(mask.sum()) <= mapped <= 1.1 * int(mask.sum())


def test_narrow_strips_keep_more_energy_of_the_same_number_of_weights():
    shape = SHAPES[0]
    energy = energy_of(shape)
    kept = {}
    for width in (1, 2):
        rule = MixedGranularity(SMALL, remove=0.0, whole=2.0, width=width)
        mask = rule.project(energy, shape, 0.25)
        assert int(mask.sum()) <= 0.25 * energy.numel()
        kept[width] = float(energy[mask].sum())
    assert kept[1] > 1.02 * kept[2]


def test_mixed_classes_follow_the_thresholds():
    shape = MatrixShape(8, 30, 1, True)
    energy = torch.full((8, 30), 1.0).double()
    energy[0] = 100.0
    energy[1:3] = 1e-6
    energy[3:, ::2] = 10.0
    size = CrossbarShape(rows=30, channels=8, ou_rows=5, ou_channels=2)
    constraint = MixedGranularity(size, remove=0.3, whole=0.8)
    mask = constraint.project(energy, shape, 0.4)
    assert constraint.classes(mask, shape) == {"removed": 2, "fine": 5, "kept": 1}
    assert bool(mask[0].all())
    assert not bool(mask[1:3].any())
    assert bool((mask[3:, 1::2] == 0).all())
    none_kept = MixedGranularity(size, whole=2.0).project(energy, shape, 0.4)
    assert int(none_kept.sum()) <= 0.4 * 240


def test_columns_kept_whole_never_outgrow_the_budget():
    shape = MatrixShape(4, 20, 1, True)
    energy = torch.ones(4, 20).double()
    energy[:2, 2:] = 5.0
    mask = MixedGranularity(SMALL, whole=0.8).project(energy, shape, 36 / 80)
    assert int(mask.sum()) <= 36


def test_columns_that_need_the_same_rows_are_joined():
    energy = torch.zeros(4, 6).double()
    energy[0, :3] = energy[3, :3] = 1.0
    energy[1, 3:] = energy[2, 3:] = 2.0
    strips = join(energy, torch.arange(4), 2)
    assert [strip.tolist() for strip in strips] == [[1, 2], [0, 3]]


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda: CrossbarShape(ou_rows=0), r"field 'ou_rows' must be an integer of at least 1"),
        (lambda: CrossbarShape(channels=1), r"field 'ou_channels' is 2, more than .* 1 channels"),
        (lambda: KernelPatterns(0), r"can have 1 to 256 patterns, not 0"),
        (lambda: KernelPatterns(kernel_cost=-1.0), r"cost of a kernel must be at least 0"),
        (lambda: MixedGranularity(remove=-0.1), r"Threshold 'remove' .* not -0\.1"),
        (lambda: MixedGranularity(width=3), r"cannot be 3 columns wide; give from 1 to 2, the"),
        (lambda: constraint_of("luck"), r"no constraint 'luck' for crossbars; choose one of"),
        (
            lambda: Unstructured().project(torch.ones(2, 2), MatrixShape(2, 2, 1), 0.0),
            r"share above 0 and up to 1, not 0\.0",
        ),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(made, sentence):
    with pytest.raises(UserError, match=sentence):
        made()
