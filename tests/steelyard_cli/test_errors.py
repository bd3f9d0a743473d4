"""Bad input to each command: one sentence, exit status 2, and nothing half-written."""

import builtins
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from steelyard import quantize

MODEL = """
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.Flatten(),
                      nn.Linear(8 * 6 * 6, 5))
"""


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """Folder for outputs, in which refused commands leave nothing."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


def test_unknown_command_and_option(steelyard):
    steelyard("weigh").refused("weigh", "steelyard --help")
    steelyard("demo", "--fast").refused("--fast", "steelyard demo --help")
    steelyard("compile").refused("NET.onnx")


def test_compile_of_a_missing_file(steelyard, empty):
    steelyard("compile", "none.onnx", "-o", empty / "n.syp").refused("none.onnx")


def test_compile_of_a_float_network(steelyard, work, empty):
    steelyard("compile", work.float_onnx, "-o", empty / "n.syp").refused("quantize")


def test_compile_of_an_unsupported_layer(steelyard, tmp_path, empty):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softmax2d(), nn.Conv2d(2, 2, 3)).eval()
    images = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    quantize.quantize(model, images, tmp_path / "softmax.onnx")
    result = steelyard("compile", tmp_path / "softmax.onnx", "-o", empty / "n.syp")
    result.refused("Softmax")


@pytest.mark.parametrize("k", ["0", "17", "some"])
def test_compile_with_a_k_out_of_range(steelyard, work, empty, k):
    steelyard("compile", work.int8_onnx, "-o", empty / "n.syp", "--k", k).refused(k)


def test_compile_with_a_k_that_the_weights_exceed(steelyard, work, empty):
    result = steelyard("compile", work.int8_onnx, "-o", empty / "n.syp", "--k", 2)
    result.refused("K = 2", "Conv")


def test_compile_for_a_configuration_that_is_too_small(steelyard, work, tmp_path, empty):
    config = tmp_path / "small.toml"
    config.write_text(
        "[engine]\nlanes = 4\ncolumns = 2\n"
        "[output]\nrequantizers = 4\n[memory]\nweight_words = 16\n"
    )
    result = steelyard(
        "compile", work.int8_onnx, "-o", empty / "n.syp", "--config", config, "--json",
        empty / "plan.json",
    )  # fmt: skip
    result.refused("does not fit", "weight words", "too many")


def test_compile_with_a_bad_configuration_file(steelyard, work, tmp_path, empty):
    config = tmp_path / "bad.toml"
    config.write_text("[engine]\nlanes = 5\n")
    steelyard("compile", work.int8_onnx, "-o", empty / "n.syp", "--config", config).refused(
        "lanes", "5"
    )


def test_compile_to_a_folder_that_cannot_be(steelyard, work, empty):
    result = steelyard("compile", work.int8_onnx, "-o", work.images / "n.syp")
    result.refused("cannot be written")


def run_of(steelyard, work, empty, **changes):
    files = {"program": work.program, "input": work.images, **changes}
    more = files.pop("more", ())
    return steelyard(
        "run", files["program"], "--input", files["input"], "--output", empty / "y.npy",
        "--device", files.get("device", "golden"), "--json", empty / "run.json", *more,
    )  # fmt: skip


def test_run_of_a_truncated_program(steelyard, work, tmp_path, empty):
    cut = tmp_path / "cut.syp"
    cut.write_bytes(work.program.read_bytes()[:-100])
    run_of(steelyard, work, empty, program=cut).refused("cut.syp")


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.98])
def test_run_of_a_program_with_a_flipped_bit(steelyard, work, tmp_path, empty, place):
    content = bytearray(work.program.read_bytes())
    content[int(place * len(content))] ^= 16
    bad = tmp_path / "bad.syp"
    bad.write_bytes(content)
    run_of(steelyard, work, empty, program=bad).refused("bad.syp")


def test_run_of_a_file_that_is_no_program(steelyard, work, empty):
    run_of(steelyard, work, empty, program=work.images).refused("images.npy")


def save(path: Path, values: np.ndarray) -> Path:
    np.save(path, values)
    return path


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.zeros((2, 1, 8, 7), np.float32), "(2, 1, 8, 7)"),
        (np.zeros((1, 8, 8), np.float32), "(1, 8, 8)"),
        (np.zeros((0, 1, 8, 8), np.float32), "at least one"),
        (np.zeros((2, 1, 8, 8), np.uint8), "uint8"),
        (np.full((2, 1, 8, 8), np.nan, np.float32), "NaN"),
    ],
)
def test_run_with_wrong_images(steelyard, work, tmp_path, empty, values, word):
    path = save(tmp_path / "x.npy", values)
    run_of(steelyard, work, empty, input=path).refused(word)


def test_run_raw_with_floats(steelyard, work, empty):
    run_of(steelyard, work, empty, more=["--raw"]).refused("int8", "float32")


def test_run_with_an_input_that_is_missing_or_no_array(steelyard, work, tmp_path, empty):
    run_of(steelyard, work, empty, input=tmp_path / "no.npy").refused("no.npy")
    text = tmp_path / "text.npy"
    text.write_text("no array")
    run_of(steelyard, work, empty, input=text).refused("text.npy")
    objects = save(tmp_path / "objects.npy", np.array([{}], object))
    run_of(steelyard, work, empty, input=objects).refused("objects.npy")


def test_run_on_an_unknown_device(steelyard, work, empty):
    run_of(steelyard, work, empty, device="abacus").refused("abacus", "golden")


def test_report_with_a_run_of_another_program(steelyard, work, tmp_path, empty):
    row = {"name": "other", "ideal_cycles": 1, "cycles": 2}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"device": "sim", "cycles": 2, "layers": [row]}))
    steelyard("report", work.program, "-o", empty, "--run", path).refused("another program")
    path.write_text("{}")
    steelyard("report", work.program, "-o", empty, "--run", path).refused("run.json")


def test_quantize_refuses_what_is_not_float(steelyard, work, tmp_path, empty):
    output = empty / "q.onnx"
    steelyard("quantize", work.int8_onnx, "--calibration", work.images, "-o", output).refused(
        "quantized already"
    )
    integers = save(tmp_path / "integers.npy", np.zeros((2, 1, 8, 8), np.int64))
    steelyard("quantize", work.float_onnx, "--calibration", integers, "-o", output).refused("int64")
    steelyard(
        "quantize", work.float_onnx, "--calibration", work.images, "-o", output, "--ranges", "guess"
    ).refused("guess")


def prune_of(steelyard, tmp_path, empty, work, *more, text=MODEL):
    path = tmp_path / "net.py"
    path.write_text(text)
    return steelyard(
        "prune", path, "--calibration", work.images, "-o", empty / "p.onnx", *more
    )  # fmt: skip


def test_prune_of_nan_weights(steelyard, tmp_path, empty, work):
    text = MODEL + "model[2].weight.data[1, 2, 0, 0] = float('nan')\n"
    prune_of(steelyard, tmp_path, empty, work, text=text).refused("'2'", "NaN")


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--sparsity", "1"], "below 1"),
        (["--k", "2=17"], "17"),
        (["--k", "2=0"], "1 to 16"),
        (["--k", "two"], "LAYER=K"),
        (["--k", "nowhere=4"], "nowhere"),
        (["--method", "guess"], "guess"),
        (["--keep", "2=0.5"], "--engine crossbar"),
        (["--constraint", "mixed"], "--engine crossbar"),
        (["--width", "1"], "--engine crossbar"),
        (["--engine", "crossbar", "--group", "8"], "--engine array"),
        (["--engine", "crossbar", "--k", "2=4"], "--engine array"),
        (["--engine", "crossbar", "--constraint", "guess"], "guess"),
        (["--engine", "crossbar", "--method", "magnitude"], "reconstruct or finetune"),
        (["--engine", "crossbar", "--width", "1"], "--constraint mixed"),
        (["--engine", "crossbar", "--constraint", "mixed", "--width", "3"], "from 1 to 2"),
        (["--engine", "crossbar", "--keep", "two"], "LAYER=SHARE"),
        (["--engine", "crossbar", "--keep", "2=much"], "LAYER=SHARE"),
        (["--engine", "crossbar", "--keep", "2=2"], "up to 1"),
        (["--engine", "crossbar", "--keep", "nowhere=0.5"], "nowhere"),
        (["--engine", "crossbar", "--sparsity", "1"], "below 1"),
        (["--engine", "crossbar", "--config", "none.toml"], "none.toml"),
    ],
)
def test_prune_with_bad_options(steelyard, tmp_path, empty, work, more, word):
    prune_of(steelyard, tmp_path, empty, work, *more).refused(word)


def test_prune_of_models_that_are_none(steelyard, tmp_path, empty, work):
    prune_of(steelyard, tmp_path, empty, work, text="x = 1").refused("'model'")
    prune_of(steelyard, tmp_path, empty, work, text="model = 1").refused("int", "torch.nn.Module")
    prune_of(steelyard, tmp_path, empty, work, text="import nothing_here").refused("nothing_here")
    prune_of(steelyard, tmp_path, empty, work, text="1 / 0").refused("ZeroDivisionError")
    output = ("-o", empty / "p.onnx", "--calibration", work.images)
    steelyard("prune", "resnet", *output).refused("resnet")
    steelyard("prune", "json:nothing", *output).refused("nothing")
    steelyard("prune", tmp_path / "none.py", *output).refused("none.py")


def test_prune_needs_calibration_of_a_model_that_is_not_bundled(steelyard, tmp_path, empty):
    path = tmp_path / "net.py"
    path.write_text(MODEL)
    steelyard("prune", path, "-o", empty / "p.onnx").refused("--calibration")


def test_prune_with_weights_of_another_network(steelyard, tmp_path, empty, work):
    other = tmp_path / "other.pt"
    torch.save(nn.Linear(2, 2).state_dict(), other)
    prune_of(steelyard, tmp_path, empty, work, "--weights", other).refused("other.pt")
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"PK\3\4 nothing")
    prune_of(steelyard, tmp_path, empty, work, "--weights", damaged).refused("damaged.npz")


def test_generate_and_train_with_bad_paths(steelyard, tmp_path, empty):
    steelyard("generate", "--config", tmp_path / "no.toml", "-o", empty).refused("no.toml")
    steelyard("train", "--data", tmp_path, "-o", empty / "w.npz").refused("t10k-images")
    steelyard("train", "--epochs", 0, "-o", empty / "w.npz").refused("epochs")


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("torch", "prune", ["prune", "fashion", "-o", "p.onnx"]),
        ("onnx", "import", ["compile", "{int8_onnx}", "-o", "n.syp"]),
        ("matplotlib", "report", ["report", "{program}", "-o", "r"]),
    ],
)
def test_missing_packages_name_their_extra(
    steelyard, work, monkeypatch, tmp_path, package, extra, arguments
):
    monkeypatch.chdir(tmp_path)
    original = builtins.__import__

    def absent(name, *rest, **named):
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return original(name, *rest, **named)

    # What an earlier test imported would be found without asking.
    for name in ("steelyard_cli.view.program_pictures", "steelyard_cli.view.report_page",
                 "steelyard.importer", "steelyard.importer.loader",
                 "steelyard.importer.walk", "steelyard.importer.graph"):  # fmt: skip
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    monkeypatch.setattr(builtins, "__import__", absent)
    values = {"int8_onnx": work.int8_onnx, "program": work.program}
    result = steelyard(*(each.format(**values) for each in arguments))
    result.refused(repr(package), f"steelyard[{extra}]")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--epochs", 1, "-o"), ("demo", "-o"), ("demo-crossbar", "-o"), ("bench", "-o"),
        ("demo-board", "--board", "ulx3s_85f", "-o"), ("bitstream", "ulx3s_85f", "-o"),
        ("prune", "fashion", "-o"), ("run", "none.syp", "--input", "none.npy", "--output"),
        ("prune", "fashion", "-o", "p.onnx", "--json"),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_an_output_that_cannot_be_is_refused_before_the_work(steelyard, tmp_path, command):
    (tmp_path / "taken").write_text("kept")
    result = steelyard(*command, tmp_path / "taken" / "x" / "y")
    result.refused("cannot be written", "taken' is no folder", "give a path in a folder")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_two_outputs_of_one_name_are_refused(steelyard, work, empty):
    (empty.parent / "link").symlink_to(empty)
    same = ("-o", empty / "n.syp", "--json", empty.parent / "link" / "n.syp")
    steelyard("compile", work.int8_onnx, *same).refused(
        "--output and --json both name", "two files"
    )
