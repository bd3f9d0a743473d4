"""ONNX files as they lie on a disk: weights beside them, and everything that is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from qdq_graphs import Qdq, start
from steelyard import importer
from steelyard.errors import UserError
from steelyard.importer.graph import read_model
from steelyard.network import Conv


def weighted() -> onnx.ModelProto:
    graph, value = start()
    return graph.model(graph.pair(graph.conv(value), 0.1))


def external(path: Path, model: onnx.ModelProto) -> None:
    """Write a model with every tensor in a file beside it."""
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)


def test_weights_in_another_file_are_read_with_it(tmp_path: Path) -> None:
    external(tmp_path / "n.onnx", weighted())
    assert (tmp_path / "w.bin").stat().st_size > 100
    found, expected = importer.load(tmp_path / "n.onnx"), importer.load(weighted())
    for one, other in zip(found.layers, expected.layers, strict=True):
        assert isinstance(one, Conv) and isinstance(other, Conv)
        np.testing.assert_array_equal(one.weight, other.weight)


def entry(key: str, value: str | None) -> Callable[[TensorProto], None]:
    def change(tensor: TensorProto) -> None:
        kept = [(each.key, each.value) for each in tensor.external_data if each.key != key]
        del tensor.external_data[:]
        for name, text in [*kept, *([] if value is None else [(key, value)])]:
            tensor.external_data.add(key=name, value=text)

    return change


def shaped(*dims: int) -> Callable[[TensorProto], None]:
    def change(tensor: TensorProto) -> None:
        tensor.dims[:] = dims

    return change


BROKEN: dict[str, tuple[Callable[[TensorProto], None], str]] = {
    "length of -1": (entry("length", "-1"), "-1 bytes from .* are no tensor of 108 bytes"),
    "length that is no number": (entry("length", "x"), "cannot be read .*'x'"),
    "length that differs": (entry("length", "3"), "3 bytes from .* are no tensor of 108 bytes"),
    "offset below 0": (entry("offset", "-5"), "108 bytes from -5 are no tensor"),
    "offset behind the end": (entry("offset", "1000000"), "cannot be read"),
    "missing file": (entry("location", "none.bin"), "in file 'none.bin', which cannot be read"),
    "other folder": (entry("location", "../w.bin"), r"in file '\.\./w.bin', which cannot be read"),
    "absolute path": (entry("location", "/etc/passwd"), "in file '/etc/passwd', which cannot be"),
    "no file": (entry("location", None), "in file '', which cannot be read .*does not say which"),
    "shape of 2**40": (shaped(1 << 20, 1 << 20), "are no tensor of 1099511627776 bytes"),
    "negative shape": (shaped(-4, 3), r"its shape \(-4, 3\) has a negative side"),
    "text": (lambda tensor: setattr(tensor, "data_type", TensorProto.STRING), "its type is object"),
    "no type": (lambda tensor: setattr(tensor, "data_type", 99), "cannot be read"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_weights_that_cannot_be_had_are_named(case: str, tmp_path: Path) -> None:
    change, sentence = BROKEN[case]
    path = tmp_path / "n.onnx"
    external(path, weighted())
    model = onnx.load(path, load_external_data=False)
    tensor = next(t for t in model.graph.initializer if list(t.dims) == [4, 3, 3, 3])
    change(tensor)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=sentence) as caught:
        importer.load(path)
    assert f"keeps tensor {tensor.name!r} in file" in str(caught.value)
    assert "; put that file beside the ONNX file or" in str(caught.value)


def test_length_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    external(path, weighted())
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        entry("length", None)(tensor)
    path.write_bytes(model.SerializeToString())
    assert importer.load(path).layers


def test_what_else_a_file_says_of_weights_elsewhere_is_passed_over(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "n.onnx"
    external(path, weighted())
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        entry("mood", "good")(tensor)
    path.write_bytes(model.SerializeToString())
    assert importer.load(path).layers and not recwarn.list


def test_content_without_its_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    external(path, weighted())
    loaded = onnx.load(path, load_external_data=False)
    for source in (path.read_bytes(), loaded):
        with pytest.raises(UserError, match="in another file, which cannot be found without its f"):
            importer.load(source)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, sentence in (
        ("", r"cannot be read \(Is no regular file\); give the path of an ONNX file"),
        ("fifo", r"cannot be read \(Is no regular file\)"),
        ("none/n.onnx", "does not exist; give the path"),
        ("x\0y", "does not exist; give the path"),
        ("x" * 5000, r"cannot be read \(File name too long\)"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_model(tmp_path / name)


@pytest.mark.parametrize("part", ["name", "op_type", "input", "attribute", "constant", "output"])
def test_names_that_are_no_text_are_refused(part: str) -> None:
    graph = Qdq(3, 9, 9)
    model = graph.model(graph.pair(graph.conv(graph.pair("x", 0.02)), 0.1))
    node = next(each for each in model.graph.node if each.op_type == "Conv")
    place: object = {
        "name": (node, "name"),
        "op_type": (node, "op_type"),
        "attribute": (node.attribute.add(name="k", i=1, type=2), "name"),
        "constant": (model.graph.initializer[0], "name"),
        "output": (model.graph.output[0], "name"),
    }.get(part)
    if part == "input":
        node.input[0] = "QQQQ"
    else:
        setattr(*place, "QQQQ")
    content = model.SerializeToString().replace(b"QQQQ", b"\xff\xfe\xfdQ")
    with pytest.raises(UserError, match="The given data holds the name b.*, which is no UTF-8 te"):
        importer.load(content)


@pytest.mark.parametrize("content", [b"", b"not an ONNX file", bytes(range(256)) * 9])
def test_file_that_is_not_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"onnx' (cannot be read as|is not) ONNX.*; give a"):
        importer.load(path)


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    graph, value = start()
    content = graph.model(graph.pair(graph.conv(value), 0.1)).SerializeToString()
    with pytest.raises(UserError, match="The given data cannot be read as ONNX"):
        importer.load(content[: len(content) // 2])


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; give the path of an ONNX file"):
        importer.load(tmp_path / "none.onnx")
