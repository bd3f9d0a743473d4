"""Networks of several outputs on devices, and what a run writes of them."""

import numpy as np
import pytest

from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.network import NetworkBuilder, Slice, golden
from steelyard.network.random import random_input

CONFIG = configure("array")


@pytest.fixture(scope="module")
def program():
    builder = NetworkBuilder("two", (3, 6, 6), scale=0.5, zero_point=7)
    rng = np.random.default_rng(3)
    weight = rng.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8)
    first = builder.conv(weight, padding=1, weight_scale=0.01, scale=2.0, name="first")
    builder.max_pool(2, first, stride=2, name="second")
    builder.append(Slice, first, first=2, count=2, name="third")
    network = builder.network("second", "third", "first", output_views=((5, 9), (2, 6, 6), (180,)))
    return compile(network, CONFIG, batch=2)


@pytest.mark.parametrize("device", ["golden", "sim"])
def test_every_device_gives_all_outputs(program, device):
    x = random_input(program.network, 5, 1)
    wanted = golden.run(program.network, x, trace=True)
    with driver.open(device, config=CONFIG) as found:
        found.load(program)
        outputs = found.infer_outputs(x)
        assert list(outputs) == ["second", "third", "first"]
        assert all(np.array_equal(values, wanted[name]) for name, values in outputs.items())
        assert np.array_equal(found.infer(x), wanted["second"])
        assert driver.check(program, x, found) is None
        assert driver.check_known_answer(program, found) is None


def test_a_difference_in_a_further_output_is_found(program):
    class Wrong(driver.GoldenDevice):
        def read_outputs(self):
            outputs = super().read_outputs()
            outputs["third"] = outputs["third"] ^ 1
            return outputs

    found = driver.check(program, random_input(program.network, 2, 1), Wrong())
    assert found is not None
    assert (found.layer, found.differing) == ("third", 2 * 2 * 36)


@pytest.mark.parametrize("raw", [False, True])
def test_every_output_comes_out_with_channels_last(tmp_path, steelyard, raw):
    builder = NetworkBuilder("last", (2, 6, 4), scale=0.5, zero_point=7)
    rng = np.random.default_rng(4)
    weight = rng.integers(-127, 128, (5, 2, 3, 3)).astype(np.int8)
    builder.conv(weight, padding=1, weight_scale=0.01, scale=2.0, name="map")
    builder.max_pool(2, "map", stride=2, name="flat")
    network = builder.network(
        "flat", "map", input_view=(6, 4, 2), output_views=((30,), (6, 4, 5)), channels_last=True
    )
    compile(network, CONFIG, batch=2).save(tmp_path / "net.syp")
    codes = rng.integers(-128, 128, (3, 6, 4, 2)).astype(np.int8)
    np.save(tmp_path / "x.npy", codes if raw else network.tensor("input").dequantize(codes))
    written = steelyard(
        "run", tmp_path / "net.syp", "--device", "golden", "--check", "--input", tmp_path / "x.npy",
        "--output", tmp_path / "y.npz", *["--raw"] * raw,
    )  # fmt: skip
    assert written.status == 0, written.err
    wanted = golden.run(network, np.ascontiguousarray(codes.transpose(0, 3, 1, 2)), trace=True)
    with np.load(tmp_path / "y.npz") as found:
        assert list(found) == ["flat", "map"]
        for name, view in zip(network.outputs, network.output_views, strict=True):
            values = wanted[name].transpose(0, 2, 3, 1).reshape(3, *view)
            expected = values if raw else network.tensor(name).dequantize(values)
            assert found[name].dtype == expected.dtype
            assert np.array_equal(found[name], expected)


def test_a_run_writes_all_outputs_in_real_units(program, tmp_path, steelyard):
    program.save(tmp_path / "net.syp")
    x = np.random.default_rng(2).normal(size=(3, 3, 6, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    command = ["run", tmp_path / "net.syp", "--device", "golden", "--input", tmp_path / "x.npy"]
    steelyard(*command, "--output", tmp_path / "y.npy").refused("3 outputs", ".npz")
    assert steelyard(*command, "--output", tmp_path / "y.npz").status == 0
    with np.load(tmp_path / "y.npz") as written:
        assert {name: written[name].shape for name in written} == {
            "second": (3, 5, 9), "third": (3, 2, 6, 6), "first": (3, 180),
        }  # fmt: skip
        codes = program.network.tensor("first").quantize(written["first"].reshape(3, 5, 6, 6))
    x8 = driver.float_codes(program.network, x)
    assert np.array_equal(codes, golden.run(program.network, x8, trace=True)["first"])
