"""Fuzz of arrays, states of torch, data sets and measurements, for commands that read them."""

import functools
import gzip
import io
import json
import random
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from harness import Case, main

from steelyard import quantize
from steelyard.compile import compile as compile_program
from steelyard.compile.cycles import predict_counters, predict_program
from steelyard.contract import Descriptor, configure
from steelyard.importer import load

COUNT = 1000
MODEL = (
    "from torch import nn\n"
    "model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(),"
    " nn.Linear(64, 3))\n"
)
SHAPES = (
    (), (0,), (2, 0, 8, 8), (1, 8, 8), (2, 64), (2, 1, 8, 7), (2, 1, 8, 8, 1), (1,) * 30,
    (2, 3, 8, 8), (1, 1, 8, 8),
)  # fmt: skip
DTYPES = ("f2", "f4", ">f4", "f8", "i1", "u1", "i8", "c8", "?", "U3", "S2", "M8[s]", "f4,i4", "O")
HEADERS = (
    "(1000000000000,)", "(-1, 1, 8, 8)", "(2, -1, 8, 8)", "'x'", "[" * 500, "(" * 90, "(9,)*9",
    "(1L, 1L, 8L, 8L)", "(2.0, 1, 8, 8)", "(True, 1, 8, 8)", "None", "(" + "1," * 99 + ")",
    "(0, " + "9" * 50 + ")", "{}", "\0", "(2, 1, 8, 8), 'shape': (1,)",
)  # fmt: skip
ODD_VALUES = (float("nan"), float("inf"), -float("inf"), 3e38, 1e-45, 0.0)
COMMANDS = (
    ("run", "net.syp", "--device", "golden", "--check", "--output", "y.npy", "--input"),
    ("run", "net.syp", "--device", "golden", "--raw", "--output", "y.npy", "--input"),
    ("quantize", "net.onnx", "-o", "out.onnx", "--calibration"),
    ("prune", "net.py", "--method", "magnitude", "-o", "p.onnx", "--calibration"),
    ("crossbar", "q.onnx", "-o", "out", "--input"),
)
WEIGHTS = ("prune", "net.py", "--method", "magnitude", "--calibration", "x.npy", "-o", "p.onnx")
BUNDLED = ("prune", "fashion", "--calibration", "x.npy", "-o", "p.onnx")
JSON_VALUES = (None, True, -1, 1.5, 1 << 70, "", "x", [], {}, [[]] * 3, "9" * 100)
EMPTY = (
    "",
    "PK\x03\x04",
    "\x93NUMPY",
    "\x93NUMPY\x01\x00",
    "\x1f\x8b",
    "\0" * 100,
    "x",
    "[" * 5000,
)
DATA = ("train", "t10k")


class Work:
    """Files that the commands take besides the one in question, and those that are right."""

    def __init__(self) -> None:
        namespace: dict[str, torch.nn.Module] = {}
        torch.manual_seed(0)
        exec(MODEL, namespace)
        model = namespace["model"].eval()
        self.state = model.state_dict()
        images = np.random.default_rng(0).random((2, 1, 8, 8), np.float32)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            quantize.export_onnx(model, images, folder / "net.onnx")
            quantize.quantize(model, images, folder / "q.onnx")
            program = compile_program(load(folder / "q.onnx"), configure("array"))
            program.save(folder / "net.syp")
            np.save(folder / "x.npy", images)
            (folder / "net.py").write_text(MODEL)
            self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        rows = [
            {
                "name": each.name,
                "ideal_cycles": each.ideal_cycles,
                **predict_counters(Descriptor.from_words(words), program.config),
            }
            for each, words in zip(program.layers, program.descriptors, strict=True)
        ]
        cycles = predict_program(program)
        self.run = {"device": "sim", "cycles": cycles, "images": 2, "layers": rows}


@functools.cache
def work() -> Work:
    """Made once, before the forks."""
    return Work()


def saved(values: np.ndarray) -> bytes:
    """Content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    return buffer.getvalue()


def array(draw: random.Random) -> bytes:
    """Content of an .npy file with something odd."""
    base = np.random.default_rng(draw.randrange(99)).random((2, 1, 8, 8), np.float32)
    change = draw.choice(("value", "shape", "dtype", "fortran", "header", "raw", "cut", "empty"))
    if change == "value":
        base.reshape(-1)[draw.randrange(128) :: draw.choice((1, 7, 128))] = draw.choice(ODD_VALUES)
    elif change == "shape":
        base = np.resize(base, draw.choice(SHAPES)).astype(np.float32)
    elif change == "dtype":
        dtype = np.dtype(draw.choice(DTYPES))
        base = np.zeros(base.shape, dtype) if draw.random() < 0.5 else np.zeros((), dtype)
    elif change == "fortran":
        base = np.asfortranarray(base[:, :, ::-1])
    elif change == "header":
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {draw.choice(HEADERS)}, }}"
        version, size = draw.choice(((b"\x01\x00", 2), (b"\x02\x00", 4), (b"\x03\x00", 4)))
        length = draw.choice((len(text), len(text), 0, 65000)).to_bytes(size, "little")
        return b"\x93NUMPY" + version + length + text.encode() + base.tobytes()
    content = bytearray(saved(base))
    if change == "raw":
        spoil(content, draw)
    elif change == "cut":
        del content[draw.randrange(len(content)) :]
    elif change == "empty":
        return draw.choice(EMPTY).encode("latin1")
    return bytes(content)


def spoil(content: bytearray, draw: random.Random) -> None:
    """Change some bytes, more often at the beginning."""
    for _ in range(draw.choice((1, 3, 30))):
        end = len(content) if draw.random() < 0.5 else min(len(content), 200)
        content[draw.randrange(end)] = draw.randrange(256)


def repack(content: bytes, draw: random.Random) -> bytes:
    """A zip with some members changed, and compressed now and then."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    name = draw.choice([*members])
    if draw.random() < 0.6:
        name = next((each for each in members if each.endswith("data.pkl")), name)
    change = draw.random()
    if change < 0.7 and members[name]:
        for _ in range(draw.choice((1, 2, 10))):
            members[name][draw.randrange(len(members[name]))] = draw.randrange(256)
    elif change < 0.8:
        del members[name]
    elif change < 0.9:
        members[name] = bytearray(array(draw))
    else:
        members[name] = members[name] * 3
    method = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, bytes(data))
    raw = bytearray(buffer.getvalue())
    if draw.random() < 0.1:
        # The directory at the end claims that a member unpacks to 4 GB.
        place = raw.rindex(b"PK\x01\x02")
        raw[place + 24 : place + 28] = (0xF0000000).to_bytes(4, "little")
    return bytes(raw)


def state(draw: random.Random) -> bytes:
    """Content of a file of weights with something odd."""
    values: object = dict(work().state)
    change = draw.choice(("nested", "pickle", "keys", "shape", "raw", "raw", "zip", "zip", "array"))
    if change == "array":
        return array(draw)
    if change == "nested":
        values = draw.choice(({"state_dict": values}, [values], {"model": {"a": 1}}, 3, None, "x"))
    elif change == "pickle":
        values = draw.choice((torch.nn.ReLU(), {"f": print}, {1: 2}, {"0.weight": "x"}))
    elif change in ("keys", "shape"):
        values = {key: value for key, value in work().state.items() if draw.random() < 0.8}
        odd = draw.choice((torch.zeros(()), torch.zeros(1).expand(1 << 40), torch.zeros(3).bool()))
        values["0.weight" if change == "shape" else "x"] = odd
    buffer = io.BytesIO()
    if draw.random() < 0.3:
        tensors = values.items() if isinstance(values, dict) else ()
        plain = {str(k): v for k, v in tensors if isinstance(v, torch.Tensor) and v.numel() < 1e6}
        np.savez(buffer, **{key: value.numpy() for key, value in plain.items()})
    else:
        torch.save(values, buffer, _use_new_zipfile_serialization=draw.random() < 0.8)
    content = buffer.getvalue()
    if change == "zip" and content.startswith(b"PK"):
        return repack(content, draw)
    raw = bytearray(content)
    if change in ("raw", "zip"):
        if draw.random() < 0.3:
            del raw[draw.randrange(len(raw)) :]
        else:
            spoil(raw, draw)
    return bytes(raw)


def measurement(draw: random.Random) -> bytes:
    """What a run counted, with something odd."""
    document = json.loads(json.dumps(work().run))
    if draw.random() < 0.2:
        raw = bytearray(json.dumps(document).encode())
        spoil(raw, draw)
        return draw.choice((bytes(raw), draw.choice(EMPTY).encode("latin1")))
    where = draw.choice((document, draw.choice(document["layers"])))
    key = draw.choice([*where])
    if draw.random() < 0.3:
        del where[key]
    else:
        where[key] = draw.choice(JSON_VALUES)
    return json.dumps(draw.choice((document, document, [document]))).encode()


def data_set(draw: random.Random) -> dict[str, bytes]:
    """A data set of 130 images of which one file is odd."""
    files: dict[str, bytes] = {}
    for part in DATA:
        pixels = np.random.default_rng(0).integers(0, 256, 130 * 784, np.uint8).tobytes()
        shape = b"".join(n.to_bytes(4, "big") for n in (130, 28, 28))
        files[f"{part}-images-idx3-ubyte.gz"] = b"\0\0\x08\x03" + shape + pixels
        labels = bytes(n % 10 for n in range(130))
        files[f"{part}-labels-idx1-ubyte.gz"] = b"\0\0\x08\x01" + shape[:4] + labels
    name = draw.choice([*files])
    content = bytearray(files[name])
    change = draw.choice(("inner", "outer", "cut", "long", "none", "dimensions"))
    if change == "inner":
        spoil(content, draw)
    elif change == "long":
        content += bytes(1 << 27)
    elif change == "dimensions":
        for place in range(4, 4 * content[3] + 4, 4):
            content[place : place + 4] = draw.choice((0, 1, 28, 1 << 31)).to_bytes(4, "big")
    packed = {key: gzip.compress(value, 1) for key, value in files.items()}
    raw = bytearray(gzip.compress(bytes(content), 1))
    if change == "outer":
        spoil(raw, draw)
    elif change == "cut":
        del raw[draw.randrange(len(raw)) :]
    if change == "none":
        del packed[name]
    else:
        packed[name] = bytes(raw)
    return {f"data/{key}": value for key, value in packed.items()}


def make(seed: int, number: int) -> Case:
    """Case of a seed and a number."""
    draw = random.Random(f"{seed} {number}")
    files = dict(work().files)
    kind = draw.random()
    if kind < 0.45:
        files["odd.npy"] = array(draw)
        command = draw.choice(COMMANDS)
        return Case(f"array, {command[0]}", files, (*command, "odd.npy"))
    if kind < 0.85:
        name = draw.choice(("odd.pt", "odd.pt", "odd.npz", "odd.bin"))
        files[name] = state(draw)
        command = BUNDLED if draw.random() < 0.1 else WEIGHTS
        return Case(f"state {name}, {command[1]}", files, (*command, "--weights", name))
    if kind < 0.95:
        files["odd.json"] = measurement(draw)
        return Case("measurement", files, ("report", "net.syp", "-o", "r", "--run", "odd.json"))
    files |= data_set(draw)
    arguments = ("train", "--data", "data", "--epochs", "1", "-o", "weights.npz")
    return Case("data set", files, arguments)


if __name__ == "__main__":
    work()
    imports = [f"steelyard_cli.commands.{name}" for name in ("run", "report", "crossbar")]
    imports += ["steelyard_cli.inputs.models", "steelyard.prune"]
    sys.exit(main(make, COUNT, __doc__, imports))
