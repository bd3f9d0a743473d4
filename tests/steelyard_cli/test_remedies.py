"""Advice of errors works: each is followed, and none is left without somebody who follows it."""

import ast
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from steelyard.contract import configure
from steelyard.contract.registers import COUNTERS
from steelyard.program.archive import read_sealed, write_sealed
from steelyard.program.program import FORMAT, FORMAT_VERSION, Program
from steelyard_sim.runs.faults import CONFIG
from tflite_models import mobilenet

from ..commands.small import prepare_data
from .remedies import REMEDIES, UNFOLLOWED

ROOT = Path(__file__).parents[2]
NAMES_A_COMMAND = re.compile(r"steelyard [a-z]|(?<![\w-])--[a-z]|python -m |'make |install ")


def with_tail(path: Path, *operators: str) -> onnx.ModelProto:
    """A network with nodes of one input behind its output."""
    model = onnx.load(path)
    (output,) = model.graph.output
    names = [output.name, *(f"{each}.y" for each in operators[:-1]), "prob"]
    for operator, source, target in zip(operators, names, names[1:], strict=False):
        model.graph.node.append(onnx.helper.make_node(operator, [source], [target]))
    output.name = "prob"
    return model


@pytest.fixture
def room(work, tmp_path, monkeypatch) -> Path:
    """Current folder with the files that the table's commands take."""
    monkeypatch.chdir(tmp_path)
    # Some other tool in place of the loader, which is only printed.
    monkeypatch.setenv("OPENFPGALOADER", sys.executable)
    for path, name in (
        (work.images, "images.npy"), (work.float_onnx, "float.onnx"), (work.int8_onnx, "int8.onnx"),
        (work.config, "tiny.toml"), (work.program, "net.syp"),
    ):  # fmt: skip
        Path(name).write_bytes(path.read_bytes())
    content = work.program.read_bytes()
    Path("cut.syp").write_bytes(content[:-9])
    Path("altered.syp").write_bytes(content.replace(b"steelyard-program", b"steelyard-progrem", 1))
    manifest, arrays = read_sealed(work.program, FORMAT, FORMAT_VERSION)
    write_sealed("newer.syp", manifest | {"version": FORMAT_VERSION + 1}, arrays)
    write_sealed("odd.syp", manifest | {"batch": 0}, arrays)
    values = list(Program.load(work.program).network.outputs)
    write_sealed(
        "bad_host.syp",
        manifest | {"host": {"values": values, "outputs": ["prob"], "operators": ["Softmax"]}},
        arrays | {"host": np.zeros(9, np.uint8)},
    )
    onnx.save(with_tail(work.int8_onnx, "Softmax"), "softmax.onnx")
    onnx.save(with_tail(work.int8_onnx, "Hardmax", "Softmax"), "several.onnx")
    Path("net.tflite").write_bytes(mobilenet(seed=5, size=16)[1])
    unlike = with_tail(work.int8_onnx, "Softmax")
    # Without the quantizers of the second convolution's input.
    makers = {node.output[0]: node for node in unlike.graph.node}
    second = [node for node in unlike.graph.node if node.op_type == "Conv"][1]
    second.input[0] = makers[makers[second.input[0]].input[0]].input[0]
    onnx.save(unlike, "unlike.onnx")
    Path("net.py").write_text(
        "import torch\nfrom torch import nn\ntorch.manual_seed(0)\n"
        "model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU(),"
        " nn.Conv2d(8, 4, 3))\n"
    )
    names: dict[str, torch.nn.Module] = {}
    exec(Path("net.py").read_text(), names)
    Path("lazy.py").write_text(Path("net.py").read_text().replace("Conv2d(1, 4", "LazyConv2d(4"))
    torch.save(names["model"].state_dict(), "net.pt")
    np.savez("other.npz", a=np.zeros(3))
    np.savez("several.npz", a=np.zeros(3))
    program = Program.load(work.program)
    tensor = program.network.tensor(program.network.input)
    np.save("labels.npy", np.arange(20) % 5)
    np.save("codes.npy", tensor.quantize(np.load(work.images)))
    configure("crossbar").to_toml("tile.toml")
    CONFIG.to_toml("board.toml")
    Path("bare.toml").write_text("lanes = 4\n")
    Path("reach.toml").write_text('[crossbar]\nadc_resolve = "reach"\n')
    Path("some.bit").write_text("bits")
    Path("golden.json").write_text(json.dumps({"device": "golden", "cycles": None, "layers": []}))
    nothing = dict.fromkeys(COUNTERS, 0)
    rows = [
        {"name": entry.name, "ideal_cycles": entry.ideal_cycles, **nothing}
        for entry in Program.load(work.program).layers
    ]
    Path("odd.json").write_text(json.dumps({"device": "sim", "cycles": 1, "layers": rows}))
    prepare_data(tmp_path / "data")
    return tmp_path


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda each: each.wrong)
def test_the_advice_of_an_error_works(steelyard, room, remedy):
    refused = steelyard(*shlex.split(remedy.wrong))
    refused.refused()
    match = re.search(remedy.says, refused.err)
    assert match, refused.err
    for command in remedy.right:
        words = shlex.split(command.format(*match.groups()))
        if words[0] == "set":
            _, name, field, value = words
            lines = Path(name).read_text().splitlines(keepends=True)
            own = f"{field} "
            changed = [f"{own}= {value}\n" if line.startswith(own) else line for line in lines]
            Path(name).write_text("".join(changed))
            continue
        outcome = steelyard(*(words[1:] if words[0] == "steelyard" else words))
        assert outcome.status == 0, f"{command}: {outcome.err}"


def advice() -> Iterator[tuple[str, str]]:
    """Sentences of errors that name a command or an option, with their places."""
    for folder in ("sw", "sim", "boards", "hw"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _raises(node.func):
                    text = "".join(_text(each) for each in node.args)
                    if NAMES_A_COMMAND.search(text):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def _raises(function: ast.expr) -> bool:
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    return name.endswith(("Error", "Refused", "Unsupported", "_leave")) or name == "DoesNotFit"


def _text(node: ast.expr) -> str:
    """Literal text of a sentence, with something in place of what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(each) for each in node.values)
    if isinstance(node, ast.FormattedValue):
        return "fashion" if "name" in ast.dump(node) else "crossbar"
    return ""


def test_no_advice_is_left_without_somebody_who_follows_it():
    followed = [*(remedy.says for remedy in REMEDIES), *UNFOLLOWED]
    found = list(advice())
    assert len(found) > 15
    left = [
        f"{place}: {text}"
        for place, text in found
        if not any(re.search(says, text) for says in followed)
    ]
    assert not left, "\n".join(["add rows to remedies.py:", *left])
