"""The crossbar tile on the command line."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from steelyard import importer
from steelyard.contract import configure
from steelyard.cost import compare, price
from steelyard.engines.crossbar import (
    AnalogEffects,
    CrossbarConfig,
    DeviceEffects,
    activity,
    fit_converters,
    map_network,
    run,
)
from steelyard.importer import load
from steelyard.network import Conv, golden
from steelyard.program import Program
from steelyard.report import compare_with_traditional, throughput


def test_programs_for_the_crossbar_run_on_the_golden_device(steelyard, work, tmp_path):
    path = tmp_path / "tile.syp"
    result = steelyard("compile", work.int8_onnx, "-o", path, "--engine", "crossbar")
    assert result.status == 0, result.err
    program = Program.load(path)
    assert program.config.engine.kind == "crossbar"
    assert program.config.engine.crossbar == CrossbarConfig()
    output = tmp_path / "y.npy"
    files = ("--input", work.images, "--output", output, "--device", "golden", "--check")
    result = steelyard("run", path, *files)
    assert result.status == 0, result.err
    network = program.network
    x = network.tensor(network.input).quantize(np.load(work.images))
    expected = network.tensor(network.output).dequantize(golden.run(network, x))[:, :, 0, 0]
    # The default crossbar's converter is ideal.
    assert np.array_equal(np.load(output), expected)


@pytest.mark.parametrize(
    ("constraint", "more"), [("pattern", ()), ("mixed", ("--width", 1)), ("ou_row", ())]
)
def test_a_network_pruned_for_the_crossbar_takes_fewer_cells_in_its_mapping(
    steelyard, work, tmp_path, monkeypatch, constraint, more
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "from torch import nn\nimport torch\ntorch.manual_seed(0)\n"
        "model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(),\n"
        "    nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))\n"
    )
    (tmp_path / "crossbar.toml").write_text("[crossbar]\nrows = 72\ncolumns = 64\n")
    files = ("--calibration", work.images, "--config", "crossbar.toml")
    result = steelyard(
        "prune", "net.py", *files, "--engine", "crossbar", "--constraint", constraint, *more,
        "--sparsity", 0.7, "-o", "p.onnx",
    )  # fmt: skip
    assert result.status == 0, result.err
    report = json.loads((tmp_path / "p.json").read_text())
    assert f"p.onnx: {100 * report['sparsity']:.1f} % of the weights" in result.out
    assert f"constraint {constraint}, seed 0" in result.out
    assert report["constraint"] == constraint and report["seed"] == 0
    assert report["sparsity"] >= 0.69
    assert [layer["name"] for layer in report["layers"]] == ["2", "4"]
    width = 1 if constraint == "mixed" else None
    assert [layer["constraint"].get("width") for layer in report["layers"]] == [width, width]
    quantized = steelyard("quantize", "p.onnx", *files[:2], "-o", "q.onnx")
    assert quantized.status == 0, quantized.err
    options = ("--mapping", constraint, "--config", "crossbar.toml", "-o", "crossbars")
    mapped = steelyard("crossbar", "q.onnx", *options)
    assert mapped.status == 0, mapped.err
    document = json.loads((tmp_path / "crossbars" / "crossbar.json").read_text())
    assert document["constants"]["isaac32"]["ratios"]["cells"] > 2.5


def test_shares_by_layer_leave_the_others_dense(steelyard, work, tmp_path):
    model = tmp_path / "net.py"
    model.write_text(
        "from torch import nn\nmodel = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3),"
        " nn.Conv2d(4, 4, 3))\n"
    )
    result = steelyard(
        "prune", model, "--calibration", work.images, "--engine", "crossbar", "--keep", "1=0.5",
        "--method", "finetune", "--epochs", 1, "-o", tmp_path / "p.onnx", "--seed", 3,
    )  # fmt: skip
    assert result.status == 0, result.err
    report = json.loads((tmp_path / "p.json").read_text())
    assert [(layer["name"], layer["keep"]) for layer in report["layers"]] == [("1", 0.5)]
    assert report["layers"][0]["kept"] <= 72
    assert report["seed"] == 3


def test_the_report_of_a_tiles_program_shows_its_crossbars(steelyard, work, tmp_path):
    path = tmp_path / "tile.syp"
    result = steelyard("compile", work.int8_onnx, "-o", path, "--engine", "crossbar")
    assert result.status == 0, result.err
    result = steelyard("report", path, "-o", tmp_path)
    assert result.status == 0, result.err
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 5
    assert ">crossbar.adc_range</td><td>unit<" in page
    assert "pattern mapping" in page
    assert (tmp_path / "crossbars-1.svg").exists()


def test_a_crossbar_needs_a_known_mapping_and_no_board(steelyard, work, tmp_path):
    path = tmp_path / "tile.syp"
    command = ("compile", work.int8_onnx, "-o", path, "--engine", "crossbar")
    result = steelyard(*command, "--mapping", "random")
    assert result.status == 2
    assert result.err.startswith("error: Crossbar mapping 'random' is unknown; use one of")
    result = steelyard(*command, "--board", "ulx3s_85f")
    assert result.status == 2
    assert result.err.startswith(
        "error: Board 'ulx3s_85f' has no configuration with the engine 'crossbar'"
    )


def test_a_converter_that_clips_is_warned_about(steelyard, work, tmp_path):
    config = tmp_path / "tile.toml"
    configure("crossbar", crossbar=CrossbarConfig(adc_bits=5)).to_toml(config)
    command = ("compile", work.int8_onnx, "-o", tmp_path / "tile.syp", "--engine", "crossbar")
    result = steelyard(*command, "--config", config)
    assert result.status == 0, result.err
    assert "warning: The 5-bit ADC clips bitline sums above 31" in result.err


def read(folder):
    return json.loads((folder / "crossbar.json").read_text())


@pytest.mark.parametrize("mapping", ["traditional", "pattern", "mixed"])
def test_mapped_networks_are_priced_on_the_users_images(steelyard, work, tmp_path, mapping):
    command = ("crossbar", work.int8_onnx, "-o", tmp_path, "--mapping", mapping)
    result = steelyard(*command, "--input", work.images)
    assert result.status == 0, result.err
    found = read(tmp_path)
    network, config = load(work.int8_onnx), CrossbarConfig()
    x = network.tensor(network.input).quantize(np.load(work.images))
    tensors = golden.run(network, x, trace=True)
    mappings = [map_network(network, config, name) for name in (mapping, "traditional")]
    for name, cost in found["constants"].items():
        own, other = (price(m, activity(network, m, tensors), name) for m in mappings)
        assert cost["energy_uj"] == pytest.approx(own.total.total_energy / len(x) / 1e6)
        assert cost["ratios"]["energy"] == pytest.approx(compare(own, other).energy)
        assert sum(layer["constants"][name]["area_um2"] for layer in found["layers"]) == (
            pytest.approx(cost["area_um2"])
        )
    assert found["crossbars"] == 1 and found["fills"] == mappings[0].fills.tolist()
    for layer, own in zip(found["layers"], mappings[0].layers.values(), strict=True):
        assert (layer["name"], layer["cells"]) == (own.name, own.cells)
        assert layer["name"] in result.out
    picture = (tmp_path / "crossbars-1.svg").read_text()
    assert picture.startswith("<svg") and all(layer["name"] in picture for layer in found["layers"])


def test_conversions_are_told_by_bits_where_converters_stop(steelyard, work, tmp_path):
    config = tmp_path / "crossbar.toml"
    config.write_text('[crossbar]\nadc_resolve = "reach"\n')
    command = ("crossbar", work.int8_onnx, "-o", tmp_path, "--input", work.images)
    result = steelyard(*command, "--config", config)
    assert result.status == 0, result.err
    found = read(tmp_path)
    assert found["config"]["adc_resolve"] == "reach"
    network = load(work.int8_onnx)
    x = network.tensor(network.input).quantize(np.load(work.images))
    tensors = golden.run(network, x, trace=True)
    said = []
    for prefix, mapping in (("", "pattern"), ("traditional_", "traditional")):
        mapped = map_network(network, CrossbarConfig(adc_resolve="reach"), mapping)
        works = activity(network, mapped, tensors).values()
        conversions = sum(work.conversions for work in works)
        assert found[f"{prefix}conversions_by_bits"] == conversions.tolist()
        decisions = sum(work.counts.adc_decisions for work in works)
        share = 100 * conversions[0] / conversions.sum()
        said.append(f"{decisions / conversions[1:].sum():.2f} of 8 bits, {share:.1f} % left out")
    assert f"Conversions resolve {said[0]}; traditional mapping: {said[1]}" in " ".join(
        result.out.split()
    )
    plain = steelyard(*command)
    assert "Conversions resolve" not in plain.out
    before = read(tmp_path)
    assert not {"conversions_by_bits", "adc_resolve"} & (before.keys() | before["config"].keys())
    energies = (each["constants"]["yu2020"]["energy_uj"] for each in (found, before))
    assert next(energies) < next(energies)


def test_without_images_no_step_is_skipped(steelyard, work, tmp_path):
    result = steelyard("crossbar", work.int8_onnx, "-o", tmp_path)
    assert result.status == 0
    assert "No --input: no step counts as skipped" in result.err
    for layer in read(tmp_path)["layers"]:
        assert layer["ou_steps"] > 0 and layer["ou_skipped"] == 0


@pytest.mark.parametrize("mapping", ["pattern", "mixed"])
def test_a_network_of_zeros_takes_no_crossbars(steelyard, work, tmp_path, monkeypatch, mapping):
    network = load(work.int8_onnx)
    zero = [
        replace(layer, weight=0 * layer.weight) if isinstance(layer, Conv) else layer
        for layer in network.layers
    ]
    monkeypatch.setattr(importer, "load", lambda _: replace(network, layers=tuple(zero)))
    command = ("crossbar", work.int8_onnx, "-o", tmp_path, "--mapping", mapping)
    result = steelyard(*command, "--budget", 1)
    assert result.status == 0, result.err
    assert "0, 1 in the traditional mapping; filled none" in result.out
    found = read(tmp_path)
    assert (found["crossbars"], found["fills"]) == (0, [])
    assert found["constants"]["mnsim"]["ratios"]["speed"] is None  # infinite
    plans = found["throughput"]["mnsim"]["plans"]
    assert [plan["own"]["images_per_second"] for plan in plans] == [None] * 3
    assert f"{mapping}, pipeline" not in (tmp_path / "throughput.svg").read_text()
    assert not list(tmp_path.glob("crossbars-*.svg"))


def test_crossbars_are_drawn_on_as_many_pictures_as_they_need(steelyard, work, tmp_path):
    config = tmp_path / "small.toml"
    CrossbarConfig(rows=9, columns=8).to_toml(config)
    result = steelyard("crossbar", work.int8_onnx, "-o", tmp_path, "--config", config)
    assert result.status == 0, result.err
    drawn = len(list(tmp_path.glob("crossbars-*.svg")))
    assert drawn == -(-read(tmp_path)["crossbars"] // 12) > 1


def test_ratios_of_less_than_a_crossbar_are_told_from_rounding(steelyard, work, tmp_path):
    result = steelyard("crossbar", work.int8_onnx, "-o", tmp_path, "--mapping", "pattern")
    assert "takes 1 crossbar: area ratios are mostly their rounding" in result.err
    assert "fill-free" in result.out
    ratios = read(tmp_path)["constants"]["isaac32"]["ratios"]
    # A dense network in patterns: the same crossbar, and an index beside fewer cells.
    assert 0.8 < ratios["fill_free_area"] < ratios["area"] < 1


def test_a_network_pruned_for_another_shape_is_warned_about(steelyard, work, tmp_path, monkeypatch):
    network, rng = load(work.int8_onnx), np.random.default_rng(0)
    layers = [
        replace(each, weight=each.weight * (rng.random(each.weight.shape) < 0.2))
        if isinstance(each, Conv) else each
        for each in network.layers
    ]  # fmt: skip
    monkeypatch.setattr(importer, "load", lambda _: replace(network, layers=tuple(layers)))
    result = steelyard("crossbar", work.int8_onnx, "-o", tmp_path, "--mapping", "ou_row")
    assert result.status == 0, result.err
    share = read(tmp_path)["zeros_in_cells"]
    assert share == pytest.approx(1 - 0.2 / (1 - 0.8**2), abs=0.05)
    assert f"warning: {100 * share:.0f} % of the weights that take cells are 0" in result.err


def test_a_tiles_configuration_names_the_crossbar_too(steelyard, work, tmp_path):
    config = tmp_path / "tile.toml"
    configure("crossbar", crossbar=CrossbarConfig(rows=64, adc_bits=7)).to_toml(config)
    result = steelyard("crossbar", work.int8_onnx, "-o", tmp_path, "--config", config)
    assert result.status == 0
    assert "warning: The 7-bit ADC clips bitline sums above 127" in result.err
    assert read(tmp_path)["config"]["rows"] == 64


@pytest.mark.parametrize(
    "text, words",
    [
        ("rows = 8", "'ou_rows' must lie between 1 and the crossbar's 8 rows"),
        ("cell_bits = 3", "'cell_bits' must divide the 8 bits of a weight"),
        ("adc_bits = 12", "Constant set 'isaac32' has no ADC of 12 bits"),
    ],
)
def test_bad_crossbars_are_refused(steelyard, work, tmp_path, text, words):
    config = tmp_path / "bad.toml"
    config.write_text(f"[crossbar]\n{text}\n")
    steelyard("crossbar", work.int8_onnx, "-o", tmp_path, "--config", config).refused(words)


def test_bad_mappings_and_images_are_refused(steelyard, work, tmp_path):
    command = ("crossbar", work.int8_onnx, "-o", tmp_path)
    steelyard(*command, "--mapping", "best").refused("Crossbar mapping 'best' is unknown")
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 8, 8), np.float32))
    steelyard(*command, "--input", tmp_path / "x.npy").refused("must have the shape")
    assert not (tmp_path / "crossbar.json").exists()


@pytest.fixture
def labels(work, tmp_path):
    """Classes of the images: the integer network's for the first half, others for the rest."""
    network = load(work.int8_onnx)
    x = network.tensor(network.input).quantize(np.load(work.images))
    found = golden.run(network, x).reshape(len(x), -1).argmax(axis=1)
    found[len(x) // 2 :] = (found[len(x) // 2 :] + 1) % 5
    np.save(tmp_path / "labels.npy", found)
    return tmp_path / "labels.npy"


def test_accuracy_and_energy_follow_the_converters_bits(steelyard, work, tmp_path, labels):
    command = ("crossbar", work.int8_onnx, "-o", tmp_path, "--input", work.images)
    result = steelyard(*command, "--labels", labels, "--adc-bits", "8,2,4,4")
    assert result.status == 0, result.err
    document = read(tmp_path)
    assert [each["adc_bits"] for each in document["converters"]] == [2, 4, 8]
    network = load(work.int8_onnx)
    x = network.tensor(network.input).quantize(np.load(work.images))
    integers = golden.run(network, x).reshape(len(x), -1).argmax(axis=1)
    for width in document["converters"]:
        config = CrossbarConfig(adc_bits=width["adc_bits"])
        mapping = map_network(network, config, "pattern")
        own = run(network, mapping, x)
        classes = own.output.reshape(len(x), -1).argmax(axis=1)
        assert width["agreement"] == np.mean(classes == integers)
        assert width["accuracy"] == np.mean(classes == np.load(labels))
        for name, cost in width["constants"].items():
            priced = price(mapping, own.layers, name).total
            assert cost["energy_uj"] == pytest.approx(priced.total_energy / len(x) / 1e6)
            assert cost["area_um2"] == pytest.approx(priced.total_area)
    ideal = document["converters"][-1]
    assert ideal["agreement"] == 1 and ideal["accuracy"] == 0.5
    assert document["converters"][0]["agreement"] < 1
    assert ideal["constants"]["isaac32"] | document["constants"]["isaac32"] == (
        document["constants"]["isaac32"] | ideal["constants"]["isaac32"]
    )
    assert document["converters"][0]["constants"]["isaac32"]["priced_bits"] == 4
    assert "50.0 %" in result.out and "warning" not in result.err
    for name, words in (("energy", "energy of an image, uJ"), ("area", "area, mm2")):
        picture = (tmp_path / f"{name}.svg").read_text()
        assert words in picture and "2 bits" in picture
        assert all(layer["name"] in picture for layer in document["layers"])
    assert "accuracy, %" in (tmp_path / "accuracy.svg").read_text()


def test_layers_are_written_as_csv(steelyard, work, tmp_path):
    command = ("crossbar", work.int8_onnx, "-o", tmp_path, "--input", work.images)
    assert steelyard(*command, "--adc-bits", "4,6").status == 0
    document = read(tmp_path)
    rows = list(csv.DictReader((tmp_path / "layers.csv").read_text().splitlines()))
    assert len(rows) == 2 * 3 * len(document["layers"])
    for width in document["converters"]:
        assert width["accuracy"] is None
        for name, cost in width["constants"].items():
            own = [
                row for row in rows
                if (row["adc_bits"], row["constants"]) == (str(width["adc_bits"]), name)
            ]  # fmt: skip
            for key in ("area_um2", "energy_uj", "serial_ms", "parallel_ms"):
                assert sum(float(row[key]) for row in own) == pytest.approx(cost[key]), key
            parts = [key for key in rows[0] if key.startswith("energy_") and key != "energy_uj"]
            for row in own:
                total = sum(float(row[key]) for key in parts)
                assert total == pytest.approx(float(row["energy_uj"]))


def test_without_images_widths_are_priced_alone(steelyard, work, tmp_path):
    result = steelyard("crossbar", work.int8_onnx, "-o", tmp_path, "--adc-bits", "4,8")
    assert result.status == 0, result.err
    narrow, wide = read(tmp_path)["converters"]
    assert narrow["accuracy"] is narrow["agreement"] is None
    assert not (tmp_path / "accuracy.svg").exists()
    energies = [each["constants"]["isaac32"]["energy_uj"] for each in (narrow, wide)]
    assert energies[0] < energies[1] == read(tmp_path)["constants"]["isaac32"]["energy_uj"]


def test_copies_within_an_area_are_shown_beside_those_of_the_traditional_mapping(
    steelyard, work, tmp_path
):
    command = ("crossbar", work.int8_onnx, "-o", tmp_path, "--input", work.images)
    assert steelyard(*command).status == 0
    assert read(tmp_path)["throughput"] == {}
    assert not (tmp_path / "throughput.svg").exists()
    result = steelyard(*command, "--budget", "4,2,2.5,4", "--mapping", "mixed")
    assert result.status == 0, result.err
    network = load(work.int8_onnx)
    x = network.tensor(network.input).quantize(np.load(work.images))
    speeds = throughput(
        compare_with_traditional(network, CrossbarConfig(), "mixed", x), (2.0, 2.5, 4.0), x
    )
    assert read(tmp_path)["throughput"] == json.loads(
        json.dumps({name: own.document() for name, own in speeds.items()})
    )
    copies = [
        " / ".join(
            f"{plan.design.choices['/3/Conv'].copies.count}"
            + "*" * plan.design.choices["/3/Conv"].shared
            for plan in pair
        )
        for pair in speeds["isaac32"].budgets.values()
    ]
    shown = next(
        line for line in result.out.partition("Copies by budget")[2].splitlines()
        if "/3/Conv" in line
    )  # fmt: skip
    assert shown.split() == ["/3/Conv", *" ".join(copies).split()]
    picture = (tmp_path / "throughput.svg").read_text()
    assert all(words in picture for words in ("mixed, pipeline", "traditional, layers in turn"))


@pytest.mark.parametrize(
    "budget, words",
    [
        ("1;2", "--budget must be numbers above 0 with commas between them, not '1;2'"),
        ("0", "not '0'; write for example '1,1.5,2,4'"),
        ("inf", "--budget must be numbers above 0"),
        ("nan,2", "--budget must be numbers above 0"),
        ("2,1e-3", "A budget of 0.001 holds no copy of every layer in either mapping"),
    ],
)
def test_bad_areas_are_refused(steelyard, work, tmp_path, budget, words):
    steelyard("crossbar", work.int8_onnx, "-o", tmp_path, "--budget", budget).refused(words)
    assert not (tmp_path / "crossbar.json").exists()


@pytest.mark.parametrize(
    "bits, words",
    [
        ("3;4", "--adc-bits must be whole numbers with commas between them, not '3;4'"),
        ("0,4", "'adc_bits' must lie between 1 and 24, not 0"),
        ("8,12", "Constant set 'isaac32' has no ADC of 12 bits"),
    ],
)
def test_bad_widths_are_refused(steelyard, work, tmp_path, bits, words):
    command = ("crossbar", work.int8_onnx, "-o", tmp_path, "--input", work.images)
    steelyard(*command, "--adc-bits", bits).refused(words)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda y: y[1:], "one for each image"),
        (lambda y: y + 1, "Labels must lie between 0 and 4"),
        (lambda y: y.astype(np.float32), "not float32 of shape"),
    ],
)
def test_labels_of_other_images_are_refused(steelyard, work, tmp_path, labels, change, words):
    np.save(labels, change(np.load(labels)))
    command = ("crossbar", work.int8_onnx, "-o", tmp_path, "--labels", labels)
    steelyard(*command, "--input", work.images).refused(words)
    steelyard(*command).refused("--labels are of the images of --input")


def test_fitted_ranges_lose_less_than_the_configurations(steelyard, work, tmp_path):
    command = ("crossbar", work.int8_onnx, "-o", tmp_path, "--input", work.images)
    options = ("--adc-bits", 3, "--adc-range")
    found = {}
    for name in ("unit", "full", "fitted"):
        result = steelyard(*command, *options, name)
        assert result.status == 0, result.err
        (found[name],) = read(tmp_path)["converters"]
    assert "Ranges are fitted to the first 20 images of --input." in result.err
    network = load(work.int8_onnx)
    x = network.tensor(network.input).quantize(np.load(work.images))
    mapping = map_network(network, CrossbarConfig(), "pattern")
    expected = fit_converters(network, mapping, x, (3,))[3]
    assert found["fitted"]["steps"] == {name: own.step for name, own in expected.items()}
    classes = golden.run(network, x).reshape(len(x), -1).argmax(axis=1)
    output = run(network, mapping, x, converters=expected).output.reshape(len(x), -1)
    assert found["fitted"]["agreement"] == np.mean(output.argmax(axis=1) == classes)
    assert set(found["unit"]["steps"].values()) == {1}
    assert set(found["full"]["steps"].values()) == {32}
    assert found["fitted"]["agreement"] > found["full"]["agreement"]
    # Images of their own, without any to price.
    calibrated = steelyard(*command[:4], *options, "fitted", "--calibration", work.images)
    assert calibrated.status == 0, calibrated.err
    assert read(tmp_path)["converters"][0]["steps"] == found["fitted"]["steps"]


def test_accuracy_under_effects_is_that_of_every_draw(steelyard, work, tmp_path, labels):
    command = ("crossbar", work.int8_onnx, "-o", tmp_path, "--input", work.images)
    options = ("--labels", labels, "--adc-bits", "4,8", "--draws", 3, "--seed", 7)
    effects = ("--effect", "stuck_at_one=1000,100000", "--effect", "variation=0.2")
    result = steelyard(*command, *options, *effects)
    assert result.status == 0, result.err
    assert "Effects are drawn with the seeds 7 to 9." in result.err
    found = read(tmp_path)["effects"]
    assert [(each["adc_bits"], each["effects"]["stuck_at_one"]) for each in found] == [
        (4, 1000), (4, 100000), (8, 1000), (8, 100000),
    ]  # fmt: skip
    network = load(work.int8_onnx)
    x = network.tensor(network.input).quantize(np.load(work.images))
    for own in found:
        mapping = map_network(network, CrossbarConfig(adc_bits=own["adc_bits"]), "pattern")
        each = []
        for seed in own["seeds"]:
            faults = DeviceEffects(seed=seed, stuck_at_one=own["effects"]["stuck_at_one"])
            analog = AnalogEffects(seed=seed, variation=0.2)
            output = run(network, mapping, x, effects=faults, analog=analog).output
            each.append(np.mean(output.reshape(len(x), -1).argmax(axis=1) == np.load(labels)))
        accuracy = own["accuracy"]
        assert accuracy["each"] == each
        assert accuracy["mean"] == pytest.approx(np.mean(each))
        assert accuracy["deviation"] == pytest.approx(np.std(each, ddof=1))
        assert (accuracy["least"], accuracy["most"]) == (min(each), max(each))
    picture = (tmp_path / "accuracy.svg").read_text()
    assert "without effects" in picture and "stuck_at_one 100000, variation 0.2" in picture
    few, many = found[2:]
    assert few["agreement"]["mean"] > many["agreement"]["mean"]
    # The same in a file, where options take the place of what it says.
    config = tmp_path / "effects.toml"
    config.write_text(
        "[crossbar]\nadc_bits = 4\n\n[effects]\nstuck_at_one = [1000, 100000]\nvariation = 0.9\n"
    )
    again = steelyard(
        *command, "--config", config, "--labels", labels, *options[4:], *effects[2:]
    )  # fmt: skip
    assert again.status == 0, again.err
    assert read(tmp_path)["effects"] == found[:2]


def test_effects_need_images(steelyard, work, tmp_path):
    config = tmp_path / "effects.toml"
    config.write_text("[crossbar]\n\n[effects]\nread_noise = 1\n")
    command = ("crossbar", work.int8_onnx, "-o", tmp_path)
    result = steelyard(*command, "--config", config)
    assert result.status == 0, result.err
    assert "No --input: the table [effects] changes nothing." in result.err
    assert read(tmp_path)["effects"] == []
    steelyard(*command, "--effect", "read_noise=1").refused("--effect changes what images give")


@pytest.mark.parametrize(
    "text, words",
    [
        ("[effects]\nnoise = 1\n", "Device effect 'noise' is unknown; use one of stuck_at_zero"),
        ("effects = 3\n", "has 'effects' that are no table"),
        ("[effects]\ndrift = true\n", "Device effect 'drift' must be a number from 0, not True"),
    ],
)
def test_bad_effects_are_refused(steelyard, work, tmp_path, text, words):
    config = tmp_path / "effects.toml"
    config.write_text(text + "[crossbar]\n")
    command = ("crossbar", work.int8_onnx, "-o", tmp_path, "--input", work.images)
    steelyard(*command, "--config", config).refused(words)
