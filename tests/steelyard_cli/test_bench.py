"""Benchmark: its networks, its figures and how its targets are judged."""

import numpy as np
import pytest

from steelyard.errors import UserError
from steelyard.network import Conv, golden
from steelyard_cli.bench import bench
from steelyard_cli.bench import networks as bench_networks
from steelyard_cli.bench import work as bench_work
from steelyard_cli.bench.work import Job, Layer, Result

from .conftest import TINY


@pytest.mark.parametrize("shape", [(5, 16, 3, 3), (3, 3, 3, 3), (2, 7, 1, 1), (4, 32, 1, 1)])
@pytest.mark.parametrize("k", [1, 4, None])
def test_weights_keep_exactly_k_of_every_whole_group(shape, k):
    weight = bench_networks.balanced_weight(np.random.default_rng(1), shape, k)
    assert weight.shape == shape and weight.dtype == np.int8 and weight.min() >= -127
    flat = weight.transpose(0, 2, 3, 1).reshape(shape[0], -1)
    for first in range(0, flat.shape[1], 16):
        part = flat[:, first : first + 16]
        kept = part.shape[1] if k is None else min(k, part.shape[1])
        assert (np.count_nonzero(part, axis=1) == kept).all()


def macs(network):
    return sum(network.macs(layer) for layer in network.layers)


def test_networks_have_the_published_work():
    assert macs(bench_networks.reference(4)) == 1_179_648
    assert macs(bench_networks.vgg16(32, 4)) == 313_196_544
    assert macs(bench_networks.vgg16(224, 4)) == 15_346_630_656
    assert macs(bench_networks.resnet8(4)) == 12_501_632
    resnet = bench_networks.resnet18(4)
    assert macs(resnet) == 1_813_561_344
    assert sum(isinstance(layer, Conv) for layer in resnet.layers) == 20


def test_outputs_neither_vanish_nor_stick_at_the_clamp():
    network = bench_networks.vgg16(32, 4)
    trace = golden.run(network, bench_networks.codes(network, 1, 0), trace=True)
    for layer in network.layers:
        values = trace[layer.output]
        assert len(np.unique(values)) > 20, layer.name
        assert (values == 127).mean() < 0.3, layer.name


def test_model_cycles_of_a_layer_alone_are_those_in_its_network():
    whole = bench_work.model(Job("resnet18 224", bench.ARRAY_16X16, k=4))
    cycles = {layer.name: layer.cycles for layer in whole.layers}
    for name in ("conv1", "layer2.0.conv1", "layer3.0.conv1"):
        alone = bench_work.model(Job("resnet18 224", bench.ARRAY_16X16, k=4, layer=name))
        assert alone.layers[0].cycles == cycles[name]


def layer(**changes):
    values = {
        "name": "conv", "kind": "conv", "k": 4, "nnz": 25, "cycles": 120,
        "predicted_cycles": 120, "ideal_cycles": 100, "array_cycles": 400,
    }  # fmt: skip
    return Layer(**values | changes)


def results(**changes):
    pool = layer(name="pool", kind="max_pool", k=None, nnz=0, ideal_cycles=0, cycles=30)
    sparse = Result((layer(**changes), pool), 155, True, 155, 2.0)
    dense = Result(
        (layer(k=16, nnz=100, cycles=420, predicted_cycles=420), pool), 455, True, 455, 3
    )
    return sparse, dense


def case(**changes):
    values = {"name": "c", "network": "reference", "config": TINY, "source": "rtl"}
    return bench.Case(**values | changes)


def test_entry_counts_convolutions_alone():
    (entry,) = bench._entries(case(), *results())
    assert entry["cycles"] == 120 and entry["dense_cycles"] == 420
    assert entry["sparsity"] == 0.75
    assert entry["occupancy"] == pytest.approx(100 / 120)
    assert entry["speedup"] == 3.5
    assert entry["dense_efficiency"] == pytest.approx(400 / 420)
    assert entry["other_layers_cycles"] == 30
    assert entry["simulation_cycles_per_second"] == pytest.approx((155 + 455) / 5)
    assert entry["bit_exact"] is True and entry["model_exact"] is True


def test_entry_from_start_to_done_is_the_accelerators_own_count():
    (entry,) = bench._entries(case(start_to_done=True), *results())
    assert entry["cycles"] == 155 and entry["dense_cycles"] == 455


def test_entries_of_layers_follow_their_network():
    entries = list(bench._entries(case(per_layer=True), *results()))
    assert [entry["name"] for entry in entries] == ["c", "c conv"]


def test_model_that_differs_from_the_gateware_by_one_cycle_is_not_exact():
    (entry,) = bench._entries(case(), *results(predicted_cycles=119))
    assert entry["model_exact"] is False


def test_every_bar_belongs_to_a_case_and_names_are_unique():
    names = [*(each.name for each in bench.CASES), *bench.SOFTWARE]
    assert len(set(names)) == len(names)
    assert {target.case for target in bench.TARGETS} <= set(names)


@pytest.mark.parametrize(
    ("target", "good", "bad"),
    [
        (bench.Target("c", "cycles", most=10), 10, 11),
        (bench.Target("c", "occupancy", least=0.5), 0.5, 0.49),
        (bench.Target("c", "bit_exact"), True, False),
        (bench.Target("c", "cycles", most=10), 0, None),
    ],
)
def test_bars(target, good, bad):
    assert target.met(good) and not target.met(bad)


def test_missed_bar_is_named_and_exits_with_one(steelyard, monkeypatch, tmp_path):
    chosen = case(name="reference 8x4", quick=True)
    monkeypatch.setattr(bench, "CASES", (chosen,))
    monkeypatch.setattr(bench, "TARGETS", (bench.Target(chosen.name, "cycles", most=100),))
    monkeypatch.setattr(
        bench,
        "_run",
        lambda pool, cases: dict(zip([(chosen, 4), (chosen, None)], results(), strict=True)),
    )
    result = steelyard("bench", "--quick", "-o", tmp_path / "array.json")
    assert result.status == 1
    assert "Missed 1 of 1 targets (reference 8x4: cycles)." in result.err
    assert (tmp_path / "array.json").exists()


def test_a_case_that_does_not_exist_is_answered_with_those_that_do(tmp_path):
    with pytest.raises(UserError, match=r"'vgg17'; choose one of reference 8x4, "):
        bench.run_bench(tmp_path / "bench.json", quick=False, case="vgg17")
