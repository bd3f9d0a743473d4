"""Networks as users write them, generated: pruned right, or refused by what is wrong with them."""

import contextlib
import random

import numpy as np
import onnxruntime
import pytest
import torch

SEED = 20261129
COUNT = 72
IMAGES = np.random.default_rng(5).standard_normal((6, 3, 8, 8)).astype(np.float32)

HELPERS = """
import torch
from torch import nn
from torch.nn import functional

class SamePad(nn.Conv2d):
    def forward(self, x):
        side = max((-(-x.shape[-1] // self.stride[0]) - 1) * self.stride[0]
                   + self.kernel_size[0] - x.shape[-1], 0)
        return super().forward(functional.pad(x, (side // 2, side - side // 2) * 2))

class Standardized(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)

class Twice(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.unused = layer, nn.Conv2d(8, 8, 1)
    def forward(self, x):
        return self.layer(torch.relu(self.layer(x)))

class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3) / 8)
    def forward(self, x):
        return functional.conv2d(x, self.kernel, padding=1)

class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
    def forward(self, x):
        return x + self.b(functional.relu(self.a(x), inplace=True))

class Noise(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)
"""
NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = nn.Sequential({middle})
        self.wide = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.last = nn.Linear({features}, 16)
        self.scores = nn.Linear(16, 5)
    def forward(self, x):
        {before}
        x = self.middle(torch.relu(self.first(x)))
        x = torch.relu(self.wide(x))
        x = {flatten}
        y = self.scores(torch.relu(self.last(x)))
        return {returned}
"""
MIDDLES = {
    "nothing": "",
    "conv": "nn.Conv2d(8, 8, 3, padding=1)",
    "norm": "nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)",
    "norm alone": "nn.BatchNorm2d(8)",
    "relu6": "nn.Conv2d(8, 8, 1), nn.ReLU6()",
    "pads itself": "SamePad(8, 8, 3, stride=2)",
    "twice": "Twice(nn.Conv2d(8, 8, 3, padding=1))",
    "residual": "Residual()",
    "same": "nn.Conv2d(8, 8, 3, padding='same')",
    "valid": "nn.Conv2d(8, 8, (3, 2), padding='valid')",
    "weight norm": "nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3, padding=1))",
    "spectral norm": "nn.utils.spectral_norm(nn.Conv2d(8, 8, 3, padding=1))",
    "dropout": "nn.Dropout(0.5), nn.Conv2d(8, 8, 3, padding=1), nn.Dropout2d(0.5)",
    "pool": "nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1)",
    "average": "nn.AvgPool2d(2), nn.Conv2d(8, 8, 3, padding=1)",
    "functional": "Functional()",
    "standardized": "Standardized(8, 8, 3, padding=1)",
    "zero pad": "nn.ZeroPad2d((1, 0, 1, 0)), nn.Conv2d(8, 8, 2)",
    "reflect": "nn.Conv2d(8, 8, 3, padding=1, padding_mode='reflect')",
    "frozen": "nn.Conv2d(8, 8, 3, padding=1).requires_grad_(False)",
}
WARNED = {
    "strides": ("nn.Conv2d(8, 8, 3, stride=(2, 5), padding=1)", "stride"),
    "softmax": ("nn.Conv2d(8, 8, 1), nn.Softmax(1)", "Softmax"),
    "group norm": ("nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8)", "InstanceNormalization"),
}
REFUSED = {
    "noise": ("middle", "Noise()", "each time"),
    "own statistics": (
        "middle", "nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8, track_running_stats=False)", "no running",
    ),
    "empty": ("middle", "nn.Conv2d(8, 0, 1), nn.Conv2d(0, 8, 1)", "holds nothing"),
    "wrong channels": ("middle", "nn.Conv2d(9, 8, 1)", "cannot run"),
    "two results": ("returned", "y, x", "returns 2 tensors"),
    "classes": ("returned", "y.argmax(1)", "int64"),
    "mean of all": ("returned", "y.mean()", "first axis"),
    "no result": ("returned", "None", "no tensor"),
    "batch": ("before", "x = x - x.mean(0, keepdim=True)", "beside others"),
    "dropout that stays": ("before", "x = functional.dropout(x)", "each time"),
    "fixed batch": ("flatten", "x.reshape(6, -1)", "6 images at once"),
    "python branch": (
        "before", "x = x * 2 if float(x[0, 0, 1, 2]) > 0 else x", "something else",
    ),
    "division": ("returned", "y / 0", "NaN"),
    "raises": ("before", "raise KeyError('no')", "KeyError"),
}  # fmt: skip
FLATTENS = {
    "view": ("x.view(x.size(0), -1)", None),
    "flatten": ("x.flatten(1)", None),
    "torch.flatten": ("torch.flatten(x, start_dim=1)", None),
    "len": ("x.reshape(len(x), -1)", None),
    "mean": ("x.mean((2, 3))", 8),
    "adaptive": ("functional.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1)", 8),
    "amax": ("functional.adaptive_max_pool2d(x, 1).view(x.shape[0], 8)", 8),
}
RETURNS = {
    "y": lambda y: y,
    "(y,)": lambda y: y[0],
    "[y, None]": lambda y: y[0],
    "{'scores': y, 'names': ['a']}": lambda y: y["scores"],
    "{'out': {'logits': y}}": lambda y: y["out"]["logits"],
}
WRAPS = {
    "": "model = Net()",
    "parallel": "model = nn.DataParallel(Net())",
    "inside": "model = Net()\nmodel.wide = nn.DataParallel(model.wide)",
    "train": "model = Net().train()",
    "channels last": "model = Net().to(memory_format=torch.channels_last)",
    "double": "model = Net().double()",
    "hooked": "model = Net()\nmodel.wide.register_forward_hook(lambda m, i, o: o.clamp(max=50))",
    "masked": "model = Net()\nnn.utils.prune.random_unstructured(model.wide, 'weight', 0.5)",
    "old weight norm": "import warnings\nwarnings.simplefilter('ignore')\nmodel = Net()\n"
    "nn.utils.weight_norm(model.wide)\nmodel(torch.zeros(2, 3, 8, 8))",
}
BEFORES = ("pass", "x.mul_(0.5)", "x = x.contiguous()", "assert x.dim() == 4")
CHECKPOINTS = {
    "none": None,
    "plain": lambda state: state,
    "wrapped": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"state": {}}},
    "nested": lambda state: {"model": {"state_dict": state}},
    "parallel": lambda state: {"module." + k: v for k, v in state.items()},
    "compiled": lambda state: {"_orig_mod." + k: v for k, v in state.items()},
    "lightning": lambda state: {
        "state_dict": {"model." + k: v for k, v in state.items()} | {"loss.weight": torch.ones(5)}
    },
    "both": lambda state: {"net": {"_orig_mod.module." + k: v for k, v in state.items()}},
}


def variants():
    """Parts of networks, and the word of a warning or a refusal that they must meet."""
    choose = random.Random(SEED)
    kinds = ["refused"] * len(REFUSED) + ["warned"] * len(WARNED)
    kinds += ["right"] * (COUNT - len(kinds))
    refused, warned = list(REFUSED), list(WARNED)
    middles = list(MIDDLES)
    for number, kind in enumerate(kinds):
        middle = middles[number % len(middles)]
        parts = {
            "middle": MIDDLES[middle], "flatten": choose.choice(list(FLATTENS)),
            "returned": choose.choice(list(RETURNS)), "wrap": choose.choice(list(WRAPS)),
            "before": choose.choice(BEFORES), "checkpoint": choose.choice(list(CHECKPOINTS)),
            "sibling": choose.random() < 0.5, "engine": choose.choice(["array", "crossbar"]),
        }  # fmt: skip
        if parts["wrap"] == "channels last" and "view" in parts["flatten"]:
            parts["flatten"] = "flatten"  # the user's own code would not run
        label, word = middle, ""
        if kind == "refused":
            label = refused.pop()
            place, text, word = REFUSED[label]
            parts |= {"wrap": "", "checkpoint": "none", "before": "pass", place: text}
        elif kind == "warned":
            label = warned.pop()
            parts["middle"], word = WARNED[label]
        name = f"{number}-{kind}-{label}-{parts['wrap']}-{parts['checkpoint']}-{parts['engine']}"
        yield pytest.param(kind, word, parts, id=name.replace(" ", "_"))


def write(folder, parts) -> str:
    """Files of a variant; returns what its class is made of, in one file."""
    flatten, features = FLATTENS.get(parts["flatten"], (parts["flatten"], None))
    text = NET.format(features="FEATURES", **{**parts, "flatten": flatten})
    if features is None:
        probe: dict = {}
        body = text.replace("FEATURES", "1").replace(f"x = {flatten}", "return x[:1].flatten(1)")
        body = body.replace(parts["before"], "pass", 1)
        exec(HELPERS + body, probe)
        features = 1
        # A net that cannot run is to be refused, whatever its classifier takes.
        with torch.no_grad(), contextlib.suppress(RuntimeError):
            features = probe["Net"]().eval()(torch.zeros(6, 3, 8, 8)).shape[1]
    text = text.replace("FEATURES", str(features))
    wrap = WRAPS[parts["wrap"]]
    seed = "torch.manual_seed(1)\n"
    if parts["sibling"]:
        (folder / "helpers_of_mine.py").write_text(HELPERS)
        (folder / "net.py").write_text("from helpers_of_mine import *\n" + seed + text + wrap)
    else:
        (folder / "net.py").write_text(HELPERS + seed + text + wrap)
    return HELPERS + seed + text + wrap


def scores_of(source: str, parts, folder) -> np.ndarray:
    """What the user's own module gives, with the weights of the checkpoint if there is one."""
    scope: dict = {}
    exec(source, scope)
    model = scope["model"]
    made = CHECKPOINTS[parts["checkpoint"]]
    if made is not None:
        torch.manual_seed(2)
        for name, values in model.state_dict().items():
            if values.is_floating_point():
                change = torch.rand_like(values) * 0.2
                values.add_(change if "var" in name else change - 0.1)
        state = model.state_dict()
        if parts["wrap"] == "parallel":
            state = {k.removeprefix("module."): v for k, v in state.items()}
        torch.save(made(state), folder / "state.pt")
    double = next(model.parameters()).dtype == torch.float64
    model.eval()
    with torch.no_grad():
        images = torch.from_numpy(IMAGES.copy())
        given = model(images.double() if double else images)
    return RETURNS[parts["returned"]](given).float().numpy()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize(("kind", "word", "parts"), list(variants()))
def test_variant_is_right_or_refused(steelyard, tmp_path, kind, word, parts):
    print(f"seed {SEED}")
    source = write(tmp_path, parts)
    expected = scores_of(source, parts, tmp_path) if kind != "refused" else None
    np.save(tmp_path / "x.npy", IMAGES)
    call = ["prune", tmp_path / "net.py", "--calibration", tmp_path / "x.npy", "--sparsity", 0,
            "-o", tmp_path / "p.onnx"]  # fmt: skip
    if (tmp_path / "state.pt").exists():
        call += ["--weights", tmp_path / "state.pt"]
    if parts["engine"] == "crossbar":
        call += ["--engine", "crossbar"]
    result = steelyard(*call)
    if kind == "refused":
        result.refused(word)
        assert not (tmp_path / "p.onnx").exists()
        return
    assert result.status == 0, result.err
    warned = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    assert len(warned) == (kind == "warned") and all(word in line for line in warned), result.err
    session = onnxruntime.InferenceSession((tmp_path / "p.onnx").read_bytes())
    # len(x) fixes the batch of what is exported to one image.
    size = 1 if session.get_inputs()[0].shape[0] == 1 else len(IMAGES)
    assert size > 1 or "len(x)" in source
    parts_of = [IMAGES[start : start + size] for start in range(0, len(IMAGES), size)]
    found = np.concatenate([session.run(None, {"input": images})[0] for images in parts_of])
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()
