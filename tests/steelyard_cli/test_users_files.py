"""Networks and weights in the files that users have: taken, or refused with advice that works."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from torch import nn

NET = """
import torch
from torch import nn
torch.manual_seed(0)
def make():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.Flatten(),
                         nn.Linear(8 * 6 * 6, 5))
model = make()
"""


@pytest.fixture
def prune(steelyard, work, tmp_path, monkeypatch):
    """Function that prunes a network of a text in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*more, text=NET, name="net.py"):
        if text is not None:
            (tmp_path / "net.py").write_text(text)
        return steelyard(
            "prune", name, "--calibration", work.images, "--method", "magnitude", "-o", "p.onnx",
            *more,
        )  # fmt: skip

    return call


def weights_of(path: Path) -> dict[str, np.ndarray]:
    return {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}


# --- where networks are found ---


def test_imports_beside_the_file_work_there_and_nowhere_else(prune, tmp_path):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "blocks.py").write_text("from sizes.of import WIDTH\n")
    (tmp_path / "nets" / "sizes").mkdir()
    (tmp_path / "nets" / "sizes" / "of.py").write_text("WIDTH = 8\n")
    (tmp_path / "nets" / "late.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "nets" / "net.py").write_text(
        "from torch import nn\nfrom blocks import WIDTH\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b = nn.Conv2d(1, WIDTH, 3), nn.Conv2d(WIDTH, 4, 3)\n"
        "    def forward(self, x):\n"
        "        from late import twice\n"
        "        return self.b(twice(self.a(x))).mean((2, 3))\n"
        "model = Net()\n"
    )
    before = list(sys.path)
    result = prune(text=None, name="nets/net.py")
    assert result.status == 0, result.err
    assert sys.path == before
    assert not {"blocks", "sizes", "sizes.of", "late", "steelyard_user_model"} & sys.modules.keys()
    # Another folder's module of the same name is another module.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "blocks.py").write_text("WIDTH = 'wide'\n")
    (tmp_path / "other" / "net.py").write_text("from blocks import WIDTH\nmodel = WIDTH\n")
    prune(text=None, name="other/net.py").refused("is a str")


def test_a_changed_file_is_read_again(prune):
    for width in (4, 6):
        result = prune(text=NET.replace("8", str(width)))
        assert result.status == 0, result.err
        assert weights_of(Path("p.onnx"))["2.weight"].shape == (width, 4, 3, 3)


@pytest.mark.parametrize("name", ["net.py", "net.py:model", "net.py:make", "net:make", "net:model"])
def test_a_network_is_named_in_each_way(prune, name):
    result = prune(name=name)
    assert result.status == 0, result.err
    assert "net" not in sys.modules


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("net.onnx", "does not exist; give the path of an ONNX file"),
        ("net.ipynb", "nbconvert"),
        ("net.pt", "--weights net.pt"),
        ("net.safetensors", "--weights net.safetensors"),
        ("net", "neither"),
        ("net.py:other", "defines no variable 'other'; give net.py:model"),
        ("net:other", "no function 'other'"),
        ("no.py", "does not exist"),
        ("nothing_here:make", "install 'nothing_here', or put it beside"),
    ],
)
def test_other_names_are_refused(prune, name, word):
    prune(name=name).refused(word)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", ["defines no variable 'model'"]),
        (NET.replace("model = make()", "net = make()"), ["give net.py:net"]),
        (NET.replace("make()\n", "make\n").replace("model = make()", "model = make"), ["model = "]),
        ("from torch import nn\nmodel = nn.Identity", ["class Identity", "model = Identity()"]),
        ("model = (", ["SyntaxError", "net.py, line 1"]),
        ("\n1 / 0", ["net.py line 2 raised ZeroDivisionError"]),
        ("import beside", ["install 'beside', or put it beside the file"]),
        ("open('no.bin')", ["FileNotFoundError", "build them from __file__"]),
        ("import sys; sys.exit(1)", ["SystemExit"]),
        ("import argparse; argparse.ArgumentParser().parse_args(['--no'])", ["SystemExit"]),
        ("raise BaseExceptionGroup('no', [ValueError()])", ["net.py line 1 raised"]),
        ("def f(): f()\nf()", ["RecursionError"]),
    ],
)
def test_files_that_make_no_network_are_refused(prune, text, words):
    prune(text=text).refused(*words)


def test_what_a_file_sets_for_all_of_torch_is_undone(prune, tmp_path):
    text = (
        "import os, sys, argparse\nargparse.ArgumentParser().parse_args()\nos.chdir('/')\n"
        "print('loading', flush=True)\n" + NET + "torch.set_default_dtype(torch.float64)\n"
        "torch.set_grad_enabled(False)\ntorch.set_default_device('meta')\n"
    )
    result = prune("--method", "finetune", "--epochs", 1, text=text)
    assert result.status == 0, result.err
    assert "loading" not in result.out and "loading" in result.err
    assert (tmp_path / "p.onnx").exists()
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert torch.zeros(1).device.type == "cpu"


def test_compiled_functions_run_as_they_are_written(prune):
    text = NET.replace("model = make()", "class Net(nn.Module):\n"
                       "    def __init__(self):\n        super().__init__()\n"
                       "        self.net = make()\n"
                       "    def forward(self, x):\n        return helper(self.net, x)\n"
                       "helper = torch.compile(lambda net, x: net(x))\n"
                       "model = torch.compile(Net())\n")  # fmt: skip
    text = "import warnings\nwarnings.simplefilter('ignore')\n" + text
    result = prune(text=text)
    assert result.status == 0, result.err


# --- weights ---


def state() -> dict[str, torch.Tensor]:
    scope: dict = {}
    exec(NET, scope)
    torch.manual_seed(5)
    return {name: torch.randn(value.shape) for name, value in scope["model"].state_dict().items()}


class Checkpoint:
    """Something else than tensors in a checkpoint."""


def saved(kind: str, path: Path) -> None:
    values = state()
    match kind:
        case "safetensors":
            safetensors.torch.save_file(values, path)
        case "npz":
            with path.open("wb") as file:
                np.savez(file, **{name: value.numpy() for name, value in values.items()})
        case "half":
            torch.save({name: value.half() for name, value in values.items()}, path)
        case "old format":
            torch.save(values, path, _use_new_zipfile_serialization=False)
        case "deep":
            torch.save({"ema": None, "a": {"b": {"params": values}}}, path)
        case "ema beside":
            torch.save({"ema": {n: v * 0 for n, v in values.items()}, "model": values}, path)
        case "among others":
            torch.save({**values, "epoch": 3}, path)
        case "ddp of lightning":
            torch.save({"state_dict": {f"net.module.{n}": v for n, v in values.items()}}, path)


@pytest.mark.parametrize(
    "kind",
    ["safetensors", "npz", "half", "old format", "deep", "ema beside", "among others",
     "ddp of lightning"],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["pt", "other"])
def test_states_are_found_by_content(prune, tmp_path, kind, suffix):
    path = tmp_path / f"state.{suffix}"
    saved(kind, path)
    result = prune("--weights", path, "--sparsity", 0)
    assert result.status == 0, result.err
    wanted = state()["0.weight"].numpy()
    assert np.allclose(weights_of(tmp_path / "p.onnx")["0.weight"], wanted, atol=2e-3)


def test_a_state_without_the_networks_prefix(prune, tmp_path):
    saved("npz", tmp_path / "state.npz")
    text = (
        NET + "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.backbone = make()\n"
        "    def forward(self, x):\n        return self.backbone(x)\n"
        "model = nn.DataParallel(Net())\n"
    )
    result = prune("--weights", "state.npz", "--sparsity", 0, text=text)
    assert result.status == 0, result.err
    found = weights_of(tmp_path / "p.onnx")["backbone.0.weight"]
    assert np.allclose(found, state()["0.weight"])


def test_lazy_layers_take_their_shape_from_the_weights(prune, tmp_path):
    saved("half", tmp_path / "state.pt")
    text = "import warnings\nwarnings.simplefilter('ignore')\n" + NET.replace(
        "nn.Conv2d(4, 8, 3)", "nn.LazyConv2d(8, 3)"
    )
    prune(text=text).refused("'2'", "lazy", "--weights")
    result = prune("--weights", "state.pt", text=text)
    assert result.status == 0, result.err


ARRAY = b"\x93NUMPY\x01\x00"
REFUSED = {
    "empty": (lambda path: path.write_bytes(b""), ["it is empty"]),
    "a folder": (lambda path: path.mkdir(), ["is a directory"]),
    "a queue": (lambda path: os.mkfifo(path), ["regular file"]),
    "a text": (lambda path: path.write_text("<html>"), ["text"]),
    "an array": (lambda path: path.write_bytes(ARRAY), ["single array"]),
    "a bare zip": (lambda path: path.write_bytes(b"PK\3\4"), ["cannot be loaded"]),
    "a cut file": (
        lambda path: (saved("half", path), path.write_bytes(path.read_bytes()[:-900])), ["zip"],
    ),
    "a cut .safetensors": (
        lambda path: (saved("safetensors", path), path.write_bytes(path.read_bytes()[:-9])),
        ["damaged"],
    ),
    "a huge header": (
        lambda path: path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}"),
        ["cannot be loaded"],
    ),
    "a module": (lambda path: torch.save(nn.Linear(2, 2), path), ["torch.save(model.state_dict()"]),
    "objects": (
        lambda path: torch.save({"state_dict": state(), "hparams": argparse.Namespace()}, path),
        ["torch.save(model.state_dict()"],
    ),
    "a list": (lambda path: torch.save([torch.zeros(2)], path), ["list"]),
    "a tensor": (lambda path: torch.save(torch.zeros(2), path), ["Tensor"]),
    "no tensors": (lambda path: torch.save({"epoch": 1}, path), ["no tensors", "'epoch'"]),
    "other names": (
        lambda path: torch.save(nn.Linear(2, 2).state_dict(), path),
        ["there is no '0.weight', '0.bias', '2.weight' and 3 more", "'weight', 'bias' are not in"],
    ),
    "other shapes": (
        lambda path: torch.save({**state(), "4.bias": torch.zeros(7)}, path),
        ["'4.bias' has the shape (7,) where the network has (5,)"],
    ),
    "too much": (
        lambda path: torch.save({**state(), "total_ops": torch.zeros(1)}, path),
        ["'total_ops' is not in the network", "remove it from the file"],
    ),
    "too little": (
        lambda path: torch.save({n: v for n, v in state().items() if n != "4.bias"}, path),
        ["there is no '4.bias'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_files_without_a_state_of_the_network_are_refused(prune, tmp_path, kind):
    make, words = REFUSED[kind]
    make(tmp_path / "state.pt")
    prune("--weights", "state.pt").refused("state.pt", *words)
    assert not (tmp_path / "p.onnx").exists()


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.(script|save|load|script_method):DeprecationWarning"
)
def test_advice_for_programs_and_superfluous_names_works(prune, tmp_path):
    scope: dict = {}
    exec(NET, scope)
    torch.jit.save(torch.jit.script(scope["model"]), tmp_path / "script.pt")
    result = prune("--weights", "script.pt")
    result.refused("TorchScript")
    advice = result.err.split("write its weights with ")[1].split(" and give state.pt")[0]
    exec(advice, {"torch": torch})
    assert prune("--weights", "state.pt").status == 0

    torch.save({"model": {**state(), "total_ops": torch.zeros(1)}}, tmp_path / "more.pt")
    prune("--weights", "more.pt").refused("remove it from the file['model']")
    file = torch.load("more.pt")
    del file["model"]["total_ops"]
    torch.save(file, "more.pt")
    assert prune("--weights", "more.pt").status == 0


# --- what prune says ---


@pytest.mark.parametrize("engine", ["array", "crossbar"])
def test_sparsity_out_of_reach_says_what_is_in_reach(prune, work, tmp_path, engine):
    text = NET.replace("nn.Conv2d(4, 8, 3)", "nn.Conv2d(4, 16, 1), nn.Conv2d(16, 16, 3, groups=16),"
                       "nn.Conv2d(16, 8, 1)")  # fmt: skip
    method = ("--engine", engine, "--method", "reconstruct")
    result = prune("--sparsity", 0.97, *method, text=text)
    result.refused("0.97 cannot be reached", "at most")
    reach = float(result.err.split("ask for a sparsity of at most ")[1].split(",")[0].rstrip(".\n"))
    result = prune("--sparsity", reach, *method, text=text)
    assert result.status == 0, result.err


def test_work_out_of_reach_can_be_left_out(prune):
    text = (
        "from torch import nn\nmodel = nn.Sequential(nn.Conv2d(1, 8, 3), "
        "nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(128, 10))\n"
    )
    method = ("--method", "reconstruct", "--sparsity", 0.8)
    prune(*method, text=text).refused("--work 0")
    result = prune(*method, "--work", 0, text=text)
    assert result.status == 0, result.err
    prune("--engine", "crossbar", *method, "--work", 0).refused("--engine array")


def test_nothing_to_prune_says_so_and_goes_with_0(prune):
    text = "from torch import nn\nmodel = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten())\n"
    for engine in ("array", "crossbar"):
        more = ("--engine", engine, "--method", "reconstruct")
        prune(*more, text=text).refused("no layer can be pruned", "a sparsity of 0")
        result = prune(*more, "--sparsity", 0, text=text)
        assert result.status == 0, result.err


def test_conv1d_is_warned_of_and_written(steelyard, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\nmodel = nn.Sequential(nn.Conv1d(4, 16, 3, padding=1), nn.ReLU(),\n"
        "    nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 10))\n"
    )
    images = np.random.default_rng(0).standard_normal((8, 4, 32)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    result = steelyard(
        "prune", tmp_path / "net.py", "--calibration", tmp_path / "x.npy", "-o", tmp_path / "p.onnx"
    )
    assert result.status == 0, result.err
    assert "warning: This network will not compile: " in result.err and "3 axes" in result.err
    assert (tmp_path / "p.onnx").exists()


def test_prune_is_clean_under_strict_python(work, tmp_path):
    # torch remarks on the even kernel.
    (tmp_path / "net.py").write_text(NET.replace("3, padding=1", "(2, 3), padding='same'"))
    call = [sys.executable, "-X", "dev", "-W", "error", "-m", "steelyard_cli", "prune"]
    for engine in ("array", "crossbar"):
        done = subprocess.run(
            [*call, tmp_path / "net.py", "--calibration", work.images, "--sparsity", "0.5",
             "--engine", engine, "-o", tmp_path / "p.onnx"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
