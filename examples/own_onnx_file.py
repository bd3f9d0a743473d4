"""An ONNX file of your own on the accelerator: float in, int8 scores out, and the Verilog.

    python own_onnx_file.py [FILE.onnx]

Without a file it writes a small one, which stands for yours. The file may come from any exporter;
what cannot be computed is refused by name, with what to do. Needs steelyard[import,hw].
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import steelyard
from steelyard import importer
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.quantize import quantize
from steelyard_hw.verilog import convert

random = np.random.default_rng(0)


def small(path: Path) -> Path:
    """A float network of two convolutions and a fully connected layer."""

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        values = random.standard_normal(shape) * 0.3
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Flatten", ["r1"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w2", "b2"], ["scores"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 5])],
        [constant("w0", 8, 3, 3, 3), constant("w1", 8, 8, 3, 3), constant("w2", 5, 128),
         constant("b2", 5)],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


path = Path(sys.argv[1]) if len(sys.argv) > 1 else small(Path("small.onnx"))
shape = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1:]

# Pictures like those that the network will see; here noise, of a real network real ones.
calibration = random.standard_normal((64, *(each.dim_value for each in shape)), np.float32)

# Nothing is pruned: the array then runs dense, which costs nothing extra.
network = importer.load(quantize(str(path), calibration))
config = configure("array", lanes=4, columns=4, requantizers=4)
program = compile(network, config)
program.save("own.syp")

with steelyard.open("golden") as device:
    device.load(program)
    scores = device.infer_float(calibration[:8])

verilog = convert(config)
Path("own.v").write_text(verilog)
print(f"scores of 8 images        {scores.shape}, class of the first {scores[0].argmax()}")
print(f"cycles of an image        {sum(layer.predicted_cycles for layer in program.layers):,}")
print(f"Verilog of the hardware   own.v, {verilog.count(chr(10)):,} lines")
