"""From a user's own torch network to a checked run and a report, command by command."""

import json
import os
import threading
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest

from steelyard import driver
from steelyard.compile import compile_with_memories
from steelyard.contract import AcceleratorConfig, configure
from steelyard.files import replacing
from steelyard.network import golden
from steelyard.program import Program
from steelyard.report import timeline_document
from steelyard_hw.verilog import LEAST_RESET_CYCLES, PORTS

from .conftest import TINY


def test_prune_quantize_compile_run_on_a_network_of_the_users(
    steelyard, work, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynets.py").write_text(
        "from torch import nn\nimport torch\n"
        "def small():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(),\n"
        "        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5))\n"
    )
    pruned = steelyard(
        "prune", "mynets:small", "--calibration", work.images, "--sparsity", 0.5, "-o", "p.onnx"
    )
    assert pruned.status == 0, pruned.err
    report = json.loads((tmp_path / "p.json").read_text())
    assert report["sparsity"] >= 0.5
    assert [layer["name"] for layer in report["layers"]] == ["2", "5"]
    graph = onnx.load("p.onnx").graph
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    assert np.count_nonzero(weights["2.weight"]) <= 8 * 72 * report["layers"][0]["k"] / 16 + 8 * 8

    quantized = steelyard("quantize", "p.onnx", "--calibration", work.images, "-o", "q.onnx")
    assert quantized.status == 0, quantized.err
    compiled = steelyard("compile", "q.onnx", "-o", "n.syp", "--batch", 4, "--json", "plan.json")
    assert compiled.status == 0, compiled.err
    plan = json.loads((tmp_path / "plan.json").read_text())
    for layer in report["layers"]:
        assert any(row["k"] == layer["k"] for row in plan["layers"])
    ran = steelyard(
        "run", "n.syp", "--input", work.images, "--output", "y.npy", "--device", "golden",
        "--check", "--json", "run.json",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert np.load("y.npy").shape == (20, 5)
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["bit_exact"] is True and document["images"] == 20
    assert document["cycles"] is None and document["layers"] == []
    hidden = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert hidden == []


def test_prune_with_a_table_of_k_leaves_the_rest_dense(steelyard, work, tmp_path):
    model = tmp_path / "net.py"
    model.write_text(
        "from torch import nn\nmodel = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3),"
        " nn.Conv2d(4, 4, 3))\n"
    )
    result = steelyard(
        "prune", model, "--calibration", work.images, "--k", "1=3", "--method", "magnitude",
        "-o", tmp_path / "p.onnx", "--json", tmp_path / "why.json",
    )  # fmt: skip
    assert result.status == 0, result.err
    report = json.loads((tmp_path / "why.json").read_text())
    assert [(layer["name"], layer["k"]) for layer in report["layers"]] == [("1", 3)]
    assert {"0", "2"} <= {each["name"] for each in report["left_dense"]}


def test_run_in_real_units_is_run_in_codes_rescaled(steelyard, work, tmp_path):
    program = Program.load(work.program)
    network = program.network
    codes = network.tensor(network.input).quantize(np.load(work.images))
    np.save(tmp_path / "codes.npy", codes)
    real = ("--input", work.images, "--output", tmp_path / "y.npy", "--device", "golden")
    raw = ("--input", tmp_path / "codes.npy", "--output", tmp_path / "z.npy", "--device", "golden")
    assert steelyard("run", work.program, *real).status == 0
    assert steelyard("run", work.program, *raw, "--raw").status == 0
    expected = golden.run(network, codes)
    found = np.load(tmp_path / "z.npy")
    assert found.dtype == np.int8 and np.array_equal(found, expected)
    values = network.tensor(network.output).dequantize(expected)[:, :, 0, 0]
    assert np.array_equal(np.load(tmp_path / "y.npy"), values)


class _Wrong(driver.GoldenDevice):
    """Device that adds one to an element of its second layer."""

    name = "wrong"

    def run_layers(self, first: int, count: int) -> None:
        for index in range(first, first + count):
            super().run_layers(index, 1)
            if index == 1:
                self.read_tensor(1)[0, 2, 1, 3] ^= 1


def test_check_names_the_first_difference_and_exits_with_one(
    steelyard, work, tmp_path, monkeypatch
):
    monkeypatch.setattr(driver, "open", lambda *_, **__: _Wrong())
    result = steelyard(
        "run", work.program, "--input", work.images, "--output", tmp_path / "y.npy", "--check"
    )
    layer = Program.load(work.program).network.layers[1].name
    assert result.status == 1
    assert f"layer '{layer}', image 0, channel 2, row 1, column 3" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_hangs_is_a_bad_result(steelyard, work, tmp_path, monkeypatch):
    class Hanging(driver.GoldenDevice):
        def infer_outputs(self, x, *, progress=None):
            raise driver.DeviceTimeout("No answer in 600 seconds.")

    monkeypatch.setattr(driver, "open", lambda *_, **__: Hanging())
    result = steelyard("run", work.program, "--input", work.images, "--output", tmp_path / "y.npy")
    assert result.status == 1
    assert result.err == "error: Device 'sim' failed: No answer in 600 seconds.\n"


def test_compile_without_configuration_grows_only_what_is_too_small(steelyard, work, tmp_path):
    result = steelyard("compile", work.int8_onnx, "-o", tmp_path / "n.syp", "--batch", 300)
    assert result.status == 0, result.err
    assert "grown memories (activation_words" in result.err
    program = Program.load(tmp_path / "n.syp")
    assert program.config.memory.activation_words == 8192
    assert program.config.with_(activation_words=4096) == configure("array")


def test_report_holds_every_layer_and_wellformed_pictures(steelyard, work, tmp_path):
    result = steelyard("report", work.program, "-o", tmp_path / "report")
    assert result.status == 0, result.err
    program = Program.load(work.program)
    page = (tmp_path / "report" / "report.html").read_text()
    for entry in program.layers:
        assert f">{entry.name}</td>" in page
    assert page.count("<svg") == page.count("</svg>") == 4
    for name in ("timeline", "cycles", "occupancy", "memory"):
        root = ElementTree.parse(tmp_path / "report" / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    assert document["predicted_cycles"] == sum(e.predicted_cycles for e in program.layers)
    assert document["config_sha256"] == TINY.hash().hex()


def test_simulated_run_is_checked_and_measured_cycles_reach_the_report(steelyard, work, tmp_path):
    files = ("--output", tmp_path / "y.npy", "--json", tmp_path / "run.json")
    result = steelyard("run", work.program, "--input", work.images, *files, "--check")
    assert result.status == 0, result.err
    run = json.loads((tmp_path / "run.json").read_text())
    program = Program.load(work.program)
    assert run["bit_exact"] is True
    assert [row["name"] for row in run["layers"]] == [entry.name for entry in program.layers]
    assert sum(row["cycles"] for row in run["layers"]) <= run["cycles"]
    result = steelyard(
        "report", work.program, "-o", tmp_path / "report", "--run", tmp_path / "run.json"
    )
    assert result.status == 0, result.err
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["measured_cycles"] == run["cycles"]
    assert [row["cycles"] for row in report["layers"]] == [row["cycles"] for row in run["layers"]]
    # The cycle model is exact, so that what was counted is what was predicted, span by span.
    timeline = report["timeline"]
    assert timeline == {**timeline_document(program), "measured": True}
    last = timeline["layers"][-1]
    assert last["start"] + last["cycles"] + last["between"] == run["cycles"] == timeline["cycles"]
    for layer, row in zip(timeline["layers"], run["layers"], strict=True):
        assert sum(layer["shares"].values()) == layer["cycles"] == row["cycles"]
        assert layer["shares"]["engine"] == row["issue"]
    assert "from START on, measured: a bar" in (tmp_path / "report" / "report.html").read_text()


def test_program_for_another_configuration_is_refused(steelyard, work, tmp_path, monkeypatch):
    # A board has one configuration whatever the program's; the simulation can be held to one too.
    original = driver.open
    other = TINY.with_(max_layers=32)
    monkeypatch.setattr(
        driver, "open", lambda name, config=None, **more: original(name, config=TINY, **more)
    )
    compiled = Program.load(work.program)
    program = compile_with_memories(compiled.network, other, batch=3)
    program.save(tmp_path / "other.syp")
    result = steelyard(
        "run", tmp_path / "other.syp", "--input", work.images, "--output", tmp_path / "y.npy"
    )
    result.refused("max_layers: 32 != 16")
    assert not (tmp_path / "y.npy").exists()


def test_generated_verilog_has_the_ports_that_its_description_names(steelyard, work, tmp_path):
    result = steelyard("generate", "--config", work.config, "-o", tmp_path / "v")
    assert result.status == 0, result.err
    verilog = (tmp_path / "v" / "steelyard.sv").read_text()
    description = json.loads((tmp_path / "v" / "accelerator.json").read_text())
    assert f"module {description['top']}(" in verilog
    assert description["least_reset_cycles"] == LEAST_RESET_CYCLES
    for name, port in PORTS.items():
        width = "" if port["width"] == 1 else f"[{port['width'] - 1}:0] "
        assert f"  {port['direction']}put {width}{name};" in verilog
    assert AcceleratorConfig.from_toml(tmp_path / "v" / "config.toml") == TINY
    assert description["config_sha256"] == TINY.hash().hex()


def test_no_output_is_written_aside_twice(steelyard, work, tmp_path, monkeypatch):
    moved, replace = [], os.replace

    def watched(source, target):
        moved.append(Path(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    images = ("--calibration", work.images)
    (tmp_path / "net.py").write_text(
        "from torch import nn\nmodel = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3))\n"
    )
    for arguments in (
        ("prune", tmp_path / "net.py", *images, "--method", "magnitude", "-o", tmp_path / "p.onnx"),
        ("quantize", tmp_path / "p.onnx", *images, "-o", tmp_path / "q.onnx"),
        ("compile", tmp_path / "q.onnx", "-o", tmp_path / "n.syp"),
        ("generate", "--config", work.config, "-o", tmp_path / "v"),
    ):
        assert steelyard(*arguments).status == 0
    mine = [path.name for path in moved if path.parent in (tmp_path, tmp_path / "v")]
    expected = ["p.onnx", "p.json", "q.onnx", "q.json", "n.syp"]
    assert mine == [*expected, "steelyard.sv", "config.toml", "accelerator.json"]
    assert not [path for path in moved if path.parent.name.startswith(".steelyard.")]


def test_no_report_is_left_beside_a_device(steelyard, work, tmp_path):
    fifo, folder = tmp_path / "p.onnx", tmp_path / "net.py"
    folder.write_text(
        "from torch import nn\nmodel = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3))\n"
    )
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    images = ("--calibration", work.images, "--method", "magnitude")
    assert steelyard("prune", folder, *images, "-o", fifo).status == 0
    reader.join(timeout=10)
    assert len(onnx.load_from_string(got[0]).graph.node) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.py", "p.onnx"]


@pytest.mark.parametrize("suffix", [".onnx", ".npy"])
def test_outputs_are_readable_by_others_as_the_umask_says(tmp_path, suffix):
    plain = tmp_path / "plain"
    plain.touch()
    with replacing(tmp_path / f"out{suffix}") as temporary:
        temporary.unlink()
        temporary.touch(mode=0o600)
    assert (tmp_path / f"out{suffix}").stat().st_mode == plain.stat().st_mode
