"""Variants of how a file is written: names, constants, types, the batch."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .draft import draft, pick, variant

# Names, constants and inputs


@variant
def unnamed_nodes(rng):
    return draft(rng, named=False).conv().relu().conv().tail().model()


@variant
def equal_node_names(rng):
    made = draft(rng).conv().relu().conv().tail().model()
    for node in made.graph.node:
        node.name = "node"
    return made


@variant
def constant_nodes(rng):
    made = draft(rng).conv().relu().tail().model()
    for item in list(made.graph.initializer):
        made.graph.node.insert(0, helper.make_node("Constant", [], [item.name], value=item))
    del made.graph.initializer[:]
    return made


@variant
def initializers_listed_as_inputs(rng):
    made = draft(rng).conv().norm().relu().tail().model()
    for item in made.graph.initializer:
        made.graph.input.append(
            helper.make_tensor_value_info(item.name, item.data_type, list(item.dims))
        )
    return made


@variant
def old_format_with_listed_inputs(rng):
    made = initializers_listed_as_inputs(rng)
    made.ir_version = 3
    made.opset_import[0].version = pick(rng, 9, 10, 11, 12)
    return made


@variant
def old_format_with_computed_constants(rng):
    made = old_format_with_listed_inputs(rng)
    stored = {item.name for item in made.graph.initializer}
    for item in (*made.graph.initializer, *made.graph.input):
        if item.name in stored:
            item.name += "/stored"
    for name in sorted(stored):
        made.graph.node.insert(0, helper.make_node("Identity", [f"{name}/stored"], [name]))
    return made


@variant
def old_opset(rng):
    return draft(rng, opset=pick(rng, 9, 10, 11, 12)).conv().norm().relu().tail().model()


@variant
def new_opset(rng):
    return draft(rng, opset=pick(rng, 18, 19, 20, 21, 22, 23)).conv().norm().relu().tail().model()


@variant
def clip_attributes_of_old_opset(rng):
    made = draft(rng, opset=pick(rng, 9, 10))
    return made.conv().node("Clip", min=0.0, max=float(rng.uniform(0.3, 6))).tail().model()


@variant
def identities_and_dropout(rng):
    return draft(rng).node("Identity").conv().node("Dropout").relu().node("Identity").tail().model()


# Types


def typed(made: onnx.ModelProto, kind: int, dtype: type) -> onnx.ModelProto:
    for item in made.graph.initializer:
        array = numpy_helper.to_array(item)
        if np.issubdtype(array.dtype, np.floating):
            item.CopyFrom(numpy_helper.from_array(array.astype(dtype), item.name))
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.elem_type = kind
    return made


@variant
def half_precision(rng):
    return typed(draft(rng).conv().relu().tail().model(), TensorProto.FLOAT16, np.float16)


@variant
def double_precision(rng):
    return typed(draft(rng).conv().relu().tail().model(), TensorProto.DOUBLE, np.float64)


@variant
def half_precision_inside(rng):
    made = draft(rng)
    made.node("Cast", to=TensorProto.FLOAT16).conv()
    made.relu().pool().flatten().gemm()
    made.node("Cast", to=TensorProto.FLOAT)
    made = made.model()
    for item in made.graph.initializer:
        array = numpy_helper.to_array(item).astype(np.float16)
        item.CopyFrom(numpy_helper.from_array(array, item.name))
    return made


# Batch


@variant
def fixed_batch(rng):
    return draft(rng, batch=pick(rng, 1, 2, 3, 8)).conv().relu().tail().model()


@variant
def fixed_batch_in_a_reshape(rng):
    batch = pick(rng, 1, 2, 4)
    made = draft(rng, batch=batch).conv().relu()
    made.node("Reshape", np.array([batch, -1], np.int64))
    made.shape = (int(np.prod(made.shape)),)
    return made.gemm().model()


@variant
def open_batch_with_a_reshape_of_one(rng):
    made = draft(rng).conv().relu().node("Reshape", np.array([1, -1], np.int64))
    made.shape = (int(np.prod(made.shape)),)
    return made.gemm().model()


@variant
def reshape_by_the_shape(rng):
    made = draft(rng).conv().relu()
    source = made.value
    made.node("Shape").node("Gather", np.int64(0)).node("Unsqueeze", np.array([0], np.int64))
    made.node("Concat", np.array([-1], np.int64), axis=0)
    made.node("Reshape", made.value, first=source)
    made.shape = (int(np.prod(made.shape)),)
    return made.gemm().model()
