"""The onnx package's nine light models: compiled, or everything that is against them.

They are files of known networks whose weights are left out: nodes fill in a constant. Each is
checked as it is. Then it gets random weights and, where it is fully connected behind its whole map,
a smaller input; its Softmax goes to the host; it is quantized on random images, compiled, and the
program compared with onnxruntime. The exit status is 1 if a code differs that is no tie.
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx
from onnx import helper, numpy_helper

from steelyard import quantize
from steelyard.check import examine
from steelyard.compare import compare
from steelyard.compile import compile_with_memories
from steelyard.contract import configure
from steelyard.importer import load
from steelyard.importer.cutting import cut

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
SIDES = {"bvlc_alexnet": 128, "vgg19": 64, "zfnet512": 128}
"""Pixels of a side in place of 224, with fully connected layers to match."""
IMAGES = 2
VIEWS = ("Reshape", "Unsqueeze")


@dataclass(frozen=True)
class Outcome:
    """What became of a model.

    Members
    -------
    obstacles : of the file as it is
    left : of the file with weights, without its Softmax
    layers, weights, cycles : of the program; 0 where there is none
    equal : share of the codes that onnxruntime has too
    ties, others : codes that differ
    """

    obstacles: tuple[str, ...]
    left: tuple[str, ...]
    layers: int = 0
    weights: int = 0
    cycles: int = 0
    equal: float = 0.0
    ties: int = 0
    others: int = 0


def with_weights(model: onnx.ModelProto, side: int, seed: int) -> onnx.ModelProto:
    """The model for images of this size, with random weights where nodes fill in a constant.

    Layers keep the size of what goes through them; normalizations are near the identity.
    """
    draw = np.random.default_rng(seed)
    graph = model.graph
    shapes = {
        node.output[0]: [int(n) for n in _stored(graph, node.input[0])]
        for node in graph.node
        if node.op_type == "ConstantOfShape"
    }
    roles = dict(_roles(graph, shapes))
    stored = {item.name for item in graph.initializer}
    dims = next(i for i in graph.input if i.name not in stored).type.tensor_type.shape.dim
    dims[2].dim_value = dims[3].dim_value = side
    for name, size in _features(model, side).items():
        shapes[name][1] = size
    kept = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    del graph.node[:]
    graph.node.extend(kept)
    for name, shape in shapes.items():
        values = draw.standard_normal(shape, np.float32)
        role = roles.get(name, "bias")
        if role == "weight":
            values *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        else:
            values = np.float32(role in ("factor", "variance")) + np.float32(0.1) * values
        graph.initializer.append(numpy_helper.from_array(np.abs(values) if role == "variance"
                                                         else values, name))  # fmt: skip
    return model


def _stored(graph: onnx.GraphProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(item for item in graph.initializer if item.name == name))


def _roles(graph: onnx.GraphProto, names: dict[str, list[int]]) -> Iterator[tuple[str, str]]:
    """What a layer does with each of these constants, if it is no summand."""
    seen = {name: name for name in names}
    for node in graph.node:
        for index, given in enumerate(node.input):
            name = seen.get(given)
            if name is None:
                continue
            if node.op_type in VIEWS:
                seen[node.output[0]] = name
            elif node.op_type in ("Conv", "Gemm") and index == 1:
                yield name, "weight"
            elif node.op_type == "Mul" or (node.op_type == "BatchNormalization" and index == 1):
                yield name, "factor"
            elif node.op_type == "BatchNormalization" and index == 4:
                yield name, "variance"


def _features(model: onnx.ModelProto, side: int) -> dict[str, int]:
    """Inputs of the first fully connected layer's weight, where the map is not 224 pixels wide."""
    graph = model.graph
    if side == 224:
        return {}
    reshape = next(node for node in graph.node if node.op_type == "Reshape")
    gemm = next(node for node in graph.node if reshape.output[0] in node.input)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:], copy.graph.output[:]
    copy.graph.output.append(helper.make_empty_tensor_value_info(reshape.input[0]))
    (found,) = (
        item
        for item in onnx.shape_inference.infer_shapes(copy, data_prop=True).graph.output
        if item.name == reshape.input[0]
    )
    size = int(np.prod([dim.dim_value for dim in found.type.tensor_type.shape.dim]))
    target = next(item for item in graph.initializer if item.name == reshape.input[1])
    target.CopyFrom(numpy_helper.from_array(np.array([1, size]), target.name))
    return {gemm.input[1]: size}


def outcome(path: Path, folder: Path, seed: int) -> Outcome:
    """What becomes of a light model."""
    found = examine(path)
    side = SIDES.get(path.stem.removeprefix("light_"), 224)
    model = with_weights(onnx.load(path), side, seed)
    onnx.save(model, folder / "f.onnx")
    at = "Softmax" if any(node.op_type == "Softmax" for node in model.graph.node) else None
    ready = examine(folder / "f.onnx", at)
    if ready.obstacles:
        return Outcome(found.obstacles, ready.obstacles)
    images = np.random.default_rng(seed).standard_normal((IMAGES, 3, side, side), np.float32)
    content = quantize.quantize_measured(folder / "f.onnx", images, cut=at).content
    model = onnx.load_model_from_string(content)
    part = model if at is None else cut(model, at).network
    program = compile_with_memories(load(part), configure("array"), batch=1)
    rows = compare(part, program, images[:1]).agreements
    total, equal, ties, others = (
        sum(getattr(each, key) for each in rows) for key in ("elements", "equal", "ties", "others")
    )
    return Outcome(
        found.obstacles, (), len(program.layers), sum(e.nnz for e in program.layers),
        sum(e.predicted_cycles for e in program.layers), equal / total, ties, others,
    )  # fmt: skip


@click.command(help=__doc__)
@click.option("--only", metavar="NAME", help="One model, such as squeezenet.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights and images.")
@click.option("--list", "listed", is_flag=True, help="All obstacles in full.")
def main(only: str | None, seed: int, listed: bool) -> None:
    """Print a line for each model."""
    paths = sorted(FOLDER.glob(f"light_{only or '*'}.onnx"))
    if not paths:
        raise click.ClickException(f"There is no light model {only!r}.")
    click.echo(
        f"seed {seed}\nmodel          side  obstacles  left  layers     weights      cycles"
        "      equal   ties  others"
    )
    others = 0
    for path in paths:
        with tempfile.TemporaryDirectory() as name:
            each = outcome(path, Path(name), seed)
        title = path.stem.removeprefix("light_")
        line = f"{title:14} {SIDES.get(title, 224):4} {len(each.obstacles):10} {len(each.left):5}"
        if each.layers:
            line += (
                f" {each.layers:7} {each.weights:11,} {each.cycles:11,} {each.equal:10.4%} "
                f"{each.ties:6} {each.others:7}"
            )
        click.echo(line)
        others += each.others
        for sentence in each.obstacles if listed else ():
            click.echo(f"    as it is: {sentence}")
        for sentence in each.left if listed else ():
            click.echo(f"    left: {sentence}")
    sys.exit(others > 0)


if __name__ == "__main__":
    main()
