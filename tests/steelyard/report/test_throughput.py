"""Images a second of mapped networks: what the plans cost and reach, on both sides alike."""

import math
import re

import numpy as np
import pytest

from steelyard.cost import constant_set
from steelyard.engines.crossbar import CrossbarConfig, map_network
from steelyard.errors import UserError
from steelyard.network import Conv, NetworkBuilder
from steelyard.report import compare_with_traditional, throughput

CONFIG = CrossbarConfig(rows=72, columns=64, constants="mnsim")
BUDGETS = (0.9, 1.0, 2.0, 4.0)


def network_of(keep=0.3, seed=0):
    """Convolutions with a pooling between them and a classifier, most kernels zero."""
    rng = np.random.default_rng(seed)
    builder = NetworkBuilder("small", (4, 12, 10))

    def weight(*shape):
        whole = rng.integers(1, 128, shape) * rng.choice([-1, 1], shape)
        return (whole * (rng.random((*shape[:2], 1, 1)) < keep)).astype(np.int8)

    builder.conv(weight(16, 4, 3, 3), padding=1)
    builder.conv(weight(24, 16, 3, 3), padding=1)
    builder.max_pool(2, stride=2)
    builder.conv(weight(32, 24, 3, 3), padding=1)
    builder.conv(weight(5, 32, 6, 5))
    return builder.network()


NETWORK = network_of()
IMAGES = np.random.default_rng(3).integers(-128, 128, (2, 4, 12, 10)).astype(np.int8)


@pytest.fixture(scope="module", params=["images", "none"])
def found(request):
    codes = IMAGES if request.param == "images" else None
    comparison = compare_with_traditional(NETWORK, CONFIG, "pattern", codes)
    return comparison, throughput(comparison, BUDGETS, codes)


def test_one_layer_at_a_time_is_the_comparison_s_own_time_and_energy(found):
    comparison, speeds = found
    assert list(speeds) == list(comparison.prices)
    for name, own in comparison.document()["constants"].items():
        for prefix, plan in zip(("", "traditional_"), speeds[name].in_turn, strict=True):
            made = plan.document()
            assert made["latency_ms"] == pytest.approx(own[f"{prefix}parallel_ms"], rel=1e-6)
            assert made["images_per_second"] == pytest.approx(1000 / made["latency_ms"])
            assert made["energy_uj"] == pytest.approx(own[f"{prefix}energy_uj"])
            without = made["area_um2"] - made["buffer_um2"]
            assert without == pytest.approx(own[f"{prefix}area_um2"])
            assert made["copies"] == {}


def test_a_pipeline_is_as_fast_as_its_slowest_layer(found):
    _, speeds = found
    for own in speeds.values():
        for plan in own.pipelined:
            slowest = max(cost.parallel_time / plan.images for cost in plan.cost.layers.values())
            assert 1e9 / plan.images_per_second == pytest.approx(slowest, rel=1e-6)
            assert {own.copies.count for own in plan.design.choices.values()} == {1}
            assert plan.crossbars == plan.cost.mapping.crossbars
    assert own.unit == own.pipelined[1].design.area


def test_copies_take_crossbars_and_indices_and_energy_stays(found):
    comparison, speeds = found
    for name, own in speeds.items():
        byte = 8 * constant_set(name).buffer_area.value
        for budget, plans in own.budgets.items():
            for plan, alone in zip(plans, own.pipelined, strict=True):
                if plan is None:
                    assert alone.design.area > budget * own.unit
                    continue
                made = plan.document()
                copies = made["copies"]
                apart = map_network(
                    comparison.network, CONFIG, alone.cost.mapping.mapping, share=False
                )
                assert made["crossbars"] == sum(
                    copies[layer] * mapped.crossbars for layer, mapped in apart.layers.items()
                )
                assert made["programmed_cells"] == sum(
                    copies[layer] * mapped.cells for layer, mapped in apart.layers.items()
                )
                area = byte * made["buffer_bytes"]
                for layer, cost in plan.cost.layers.items():
                    indices = 1 if layer in made["shared_index"] else copies[layer]
                    area += copies[layer] * (cost.total_area - cost.area["index"])
                    area += indices * cost.area["index"]
                assert made["area_um2"] == pytest.approx(area)
                assert made["buffer_bytes"] == sum(made["waiting_bytes"].values()) > 0
                assert made["area_um2"] <= budget * own.unit
                assert made["energy_uj"] == alone.document()["energy_uj"]


def test_images_a_second_never_fall_with_the_area(found):
    _, speeds = found
    for own in speeds.values():
        for side in (0, 1):
            plans = [own.pipelined[side], *(plans[side] for plans in own.budgets.values())]
            rates = [plan.images_per_second for plan in plans if plan is not None]
            assert rates == sorted(rates) and rates[-1] > 1.5 * rates[0]
        # Of a third of the kernels more copies fit an area.
        assert all(
            plans[0].images_per_second > 1.5 * plans[1].images_per_second
            for plans in own.budgets.values()
            if None not in plans
        )


def test_the_traditional_mapping_beside_itself_reaches_the_same():
    comparison = compare_with_traditional(NETWORK, CONFIG, "traditional", IMAGES)
    for own in throughput(comparison, (1.0, 2.5), IMAGES).values():
        for _, _, mine, other in own.rows():
            assert mine.document() == other.document()


def test_an_area_that_nothing_fits_is_refused_with_the_least_that_does():
    comparison = compare_with_traditional(NETWORK, CONFIG, "pattern", IMAGES)
    small = throughput(comparison, (0.01, 1.0), IMAGES)["mnsim"]
    assert small.budgets[0.01] == (None, None)
    with pytest.raises(UserError, match=r"A budget of 0\.01 holds no copy") as caught:
        small.check()
    least = float(re.search(r"use ([0-9.]+) or more", str(caught.value))[1])
    own = throughput(comparison, (least - 0.001, least), IMAGES)["mnsim"]
    assert [plans[0] is None for plans in own.budgets.values()] == [True, False]


def test_a_network_of_zeros_takes_no_time():
    zero = network_of(keep=0.0)
    assert not any(layer.weight.any() for layer in zero.layers if isinstance(layer, Conv))
    own = throughput(compare_with_traditional(zero, CONFIG, "pattern"), (1.0,))["mnsim"]
    plan, other = own.budgets[1.0]
    assert plan.document()["images_per_second"] is None
    assert math.isinf(plan.images_per_second) and math.isfinite(other.images_per_second)
    assert plan.crossbars == 0
