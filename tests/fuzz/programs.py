"""Fuzz of program files: bytes changed, manifests changed and sealed again, arrays replaced."""

import copy
import functools
import hashlib
import io
import json
import random
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import Case, main
from onnx import TensorProto, helper

from steelyard.compile import compile as compile_program
from steelyard.contract import configure
from steelyard.network.random import random_network
from steelyard.program import HostPart

COUNT = 2000
KINDS = ("conv", "add", "max_pool", "avg_pool", "fc")
ODD = (
    None, True, False, 0, 1, -1, 2, 1 << 31, 1 << 63, 1 << 400, 0.5, -0.0, float("inf"),
    float("nan"), 1e308, "", "x", "\0", "input", [], {}, [0], [[]], {"a": 1}, "9" * 400,
)  # fmt: skip
"""Values that take the place of a manifest's."""


def host() -> HostPart:
    """A part that the host computes behind the accelerator's."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("v", "y")]
    nodes = [helper.make_node("Softmax", ["v"], ["y"])]
    graph = helper.make_graph(nodes, "host", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 17)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return HostPart(content, ("v",), ("y",), ("Softmax",))


@functools.cache
def programs() -> tuple[tuple[bytes, bytes], ...]:
    """Bytes of a program for the array and one for a tile, each with an input for it."""
    small = {"activation_words": 2048, "weight_words": 4096, "parameter_words": 64}
    array = configure("array", lanes=8, columns=4, group=8, window_groups=8, **small)
    made = []
    for seed, config in ((3, array), (5, configure("crossbar"))):
        network = random_network(seed, kinds=KINDS, layers=5, max_pixels=24, max_channels=6)
        program = replace(compile_program(network, config, batch=2), host=host())
        with tempfile.TemporaryDirectory() as folder:
            program.save(Path(folder) / "net.syp")
            content = (Path(folder) / "net.syp").read_bytes()
        images = io.BytesIO()
        shape = network.tensor(network.input).shape
        np.save(images, np.zeros((2, *shape), np.float32))
        made.append((content, images.getvalue()))
    return tuple(made)


def sealed(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive whose seal and array hashes are right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.comment = b"steelyard-sha256:" + b"0" * 64
        for name, data in members.items():
            archive.writestr(name, data)
    body = buffer.getvalue()[:-64]
    return body + hashlib.sha256(body).hexdigest().encode()


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a document with each of its keys."""
    found: list[tuple[Any, Any]] = []
    keys = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in keys:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


def mutate(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """A changed program file, and what was done to it."""
    kind = draw.choice(("bytes", "cut", "manifest", "manifest", "manifest", "array", "header"))
    if kind in ("bytes", "cut"):
        raw = bytearray(content)
        if kind == "cut":
            start = draw.randrange(len(raw))
            del raw[start : start + draw.choice((1, 100, len(raw)))]
        else:
            for _ in range(draw.choice((1, 1, 8, 200))):
                raw[draw.randrange(len(raw))] = draw.randrange(256)
        if draw.random() < 0.5 and len(raw) > 100:
            body = bytes(raw[:-64])
            return f"{kind}, sealed", body + hashlib.sha256(body).hexdigest().encode()
        return kind, bytes(raw)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members["manifest.json"])
    if kind == "manifest":
        for _ in range(draw.choice((1, 1, 1, 3))):
            spoil(manifest, draw)
    else:
        name = draw.choice([name for name in members if name.endswith(".npy")])
        members[name] = (array if kind == "array" else header)(members[name], draw)
        if draw.random() < 0.8 and name[:-4] in manifest["arrays"]:
            manifest["arrays"][name[:-4]] = hashlib.sha256(members[name]).hexdigest()
    members["manifest.json"] = json.dumps(manifest).encode()
    stored = zipfile.ZIP_DEFLATED if draw.random() < 0.05 else zipfile.ZIP_STORED
    return kind, sealed(members, stored)


def spoil(manifest: dict[str, Any], draw: random.Random) -> None:
    """Change one place of a manifest."""
    parts = [part for part in places(manifest) if part[0] is not manifest.get("arrays")]
    where, key = draw.choice(parts)
    old = where[key]
    change = draw.random()
    if change < 0.15:
        del where[key]
    elif change < 0.3 and isinstance(where, list):
        where.insert(draw.randrange(len(where) + 1), copy.deepcopy(old))
    elif change < 0.6 and isinstance(old, int | float):
        where[key] = draw.choice((old + 1, old - 1, -old, old * 2, old * 1000, old / 3))
    elif change < 0.7 and isinstance(where, dict):
        where[draw.choice(("x", "shape", "kind", ""))] = copy.deepcopy(old)
    else:
        other_where, other_key = draw.choice(parts)
        other = other_where.get(other_key) if isinstance(other_where, dict) else None
        where[key] = copy.deepcopy(draw.choice((*ODD, other)))


def array(data: bytes, draw: random.Random) -> bytes:
    """Another array in its place: other values, type, shape or number of items."""
    values = np.load(io.BytesIO(data))
    change = draw.choice(("values", "extreme", "dtype", "shape", "longer", "shorter", "random"))
    if change == "values" and values.size:
        flat = values.reshape(-1)
        for _ in range(draw.choice((1, 20))):
            flat[draw.randrange(flat.size)] = draw.randrange(-100, 100) & 0x7F
    elif change == "extreme" and values.size:
        information = np.iinfo if values.dtype.kind in "iu" else np.finfo
        values.reshape(-1)[draw.randrange(values.size)] = draw.choice(
            (information(values.dtype).max, information(values.dtype).min)
        )
    elif change == "dtype":
        values = values.astype(draw.choice(("int8", "uint32", "int64", "float64", "U3", "bool")))
    elif change == "shape":
        values = values.reshape(draw.choice(((-1,), (1, -1), (-1, 1), (*values.shape, 1))))
    elif change == "longer":
        values = np.concatenate([values] * 2) if values.ndim else values[None]
    elif change == "shorter":
        values = values[:-1] if values.ndim else values
    elif values.dtype.kind in "iu":
        shape, least = values.shape, np.iinfo(values.dtype).min
        drawn = np.random.default_rng(draw.randrange(1 << 32))
        values = drawn.integers(least, np.iinfo(values.dtype).max, shape, dtype=values.dtype)
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()


def header(data: bytes, draw: random.Random) -> bytes:
    """The same data behind another header."""
    shape = draw.choice(("(1000000000000,)", "(-1,)", "()", "(1, 2)", "'x'", "[" * 500, "(9,)*9"))
    descr = draw.choice(("<u4", "|i1", "|O", ">f8", "<U9", "|V8", "<M8[s]", "x"))
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(draw.choice((117, 700))) + "\n"
    version = draw.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x09\x00"))
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode() + data[128:]


def make(seed: int, number: int) -> Case:
    """Case of a seed and a number."""
    draw = random.Random(f"{seed} {number}")
    content, images = draw.choice(programs())
    name, changed = mutate(content, draw)
    run = ("run", "net.syp", "--input", "x.npy", "--output", "y.npy", "--device", "golden")
    use = draw.choice(((*run, "--check"), ("report", "net.syp", "-o", "report")))
    return Case(f"{name}, {use[0]}", {"net.syp": changed, "x.npy": images}, use)


if __name__ == "__main__":
    programs()
    imports = ["steelyard_cli.commands.run", "steelyard_cli.commands.report", "matplotlib.figure",
               "onnxruntime",
               "jinja2"]  # fmt: skip
    sys.exit(main(make, COUNT, __doc__, imports))
