"""Variants of what the layers are: biases, norms, clamps, beginnings and ends."""

import numpy as np

from .draft import draft, pick, variant

# Biases and factors


@variant
def bias_row(rng):
    made = draft(rng).conv().relu().pool().flatten()
    matrix, shape = made.values(8, 5, scale=0.4), pick(rng, (1, 5), (5,), (1,), (1, 1), ())
    made.node("MatMul", matrix).node("Add", made.values(*shape))
    made.shape = (5,)
    return made.model()


@variant
def bias_row_of_a_gemm(rng):
    made = draft(rng).conv().relu().pool().flatten()
    matrix, shape = made.values(8, 5, scale=0.4), pick(rng, (1, 5), (5,), (1,), (1, 1))
    made.node("Gemm", matrix, made.values(*shape))
    made.shape = (5,)
    return made.model()


@variant
def bias_first(rng):
    made = draft(rng).conv().relu().pool().flatten()
    product = made.node("MatMul", made.values(8, 5, scale=0.4)).value
    made.node("Add", product, first=made.constant(made.values(5)))
    made.shape = (5,)
    return made.model()


@variant
def gemm_without_bias(rng):
    made = draft(rng).conv().relu().pool().flatten()
    made.node("Gemm", made.values(8, 5, scale=0.4))
    made.shape = (5,)
    return made.model()


@variant
def alpha_and_beta(rng):
    made = draft(rng).conv().relu().pool().flatten()
    return made.gemm(alpha=float(rng.uniform(-2, 2)), beta=float(pick(rng, 0, 0.5, 2, -3))).model()


@variant
def conv_without_bias_and_add(rng):
    made = draft(rng).conv(bias=False)
    return made.node("Add", made.values(8, 1, 1)).relu().tail().model()


@variant
def factor_behind_a_relu(rng):
    made = draft(rng).conv().relu()
    shape = pick(rng, (), (1,), (8, 1, 1), (1, 8, 1, 1))
    return made.node(pick(rng, "Mul", "Div"), 0.5 + np.abs(made.values(*shape))).tail().model()


@variant
def negative_factor_behind_a_relu(rng):
    made = draft(rng).conv().relu()
    return made.node("Mul", -0.5 - np.abs(made.values(8, 1, 1))).conv(4).tail().model()


@variant
def summand_behind_a_relu(rng):
    made = draft(rng).conv().relu()
    return made.node(pick(rng, "Add", "Sub"), made.values(8, 1, 1)).conv(4).tail().model()


@variant
def constant_minus_value(rng):
    made = draft(rng).conv().relu()
    source = made.value
    made.node("Sub", source, first=made.constant(made.values(8, 1, 1)))
    return made.conv(4).tail().model()


@variant
def normalized_input(rng):
    made = draft(rng)
    made.node("Sub", made.values(3, 1, 1, scale=0.3))
    made.node(pick(rng, "Div", "Mul"), 0.5 + np.abs(made.values(1, 3, 1, 1)))
    return made.conv(side=pick(rng, 1, 3)).relu().tail().model()


@variant
def scaled_scores(rng):
    made = draft(rng).conv().relu().tail()
    return made.node("Mul", np.float32(rng.uniform(0.1, 3))).model()


@variant
def negated_scores(rng):
    return draft(rng).conv().relu().tail().node("Neg").model()


@variant
def factor_with_two_readers(rng):
    made = draft(rng).conv(8).relu()
    scaled = made.node("Mul", np.float32(rng.uniform(0.3, 2))).value
    made.conv(8).relu()
    return made.node("Add", scaled).relu().tail().model()


# Batch normalization


@variant
def norm_behind_conv(rng):
    return draft(rng).conv(bias=bool(rng.integers(2))).norm(epsilon=1e-3).relu().tail().model()


@variant
def norm_behind_linear(rng):
    made = draft(rng).conv().relu().pool().flatten().gemm(12).norm().relu().gemm(5)
    return made.model()


@variant
def norm_behind_matmul(rng):
    made = draft(rng).conv().relu().pool().flatten()
    made.node("MatMul", made.values(8, 6, scale=0.4))
    made.shape = (6,)
    return made.norm().relu().gemm(5).model()


@variant
def norm_first(rng):
    return draft(rng).norm().conv(side=pick(rng, 1, 3)).relu().tail().model()


@variant
def norm_before_relu_and_conv(rng):
    return (
        draft(rng)
        .conv()
        .node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        .norm()
        .relu()
        .half()
        .conv(4)
        .tail()
        .model()
    )


@variant
def norm_behind_an_add(rng):
    made = draft(rng).conv().relu()
    source = made.value
    made.conv().node("Add", source).norm().relu()
    return made.tail().model()


# Clamps


@variant
def dead_relu(rng):
    made = draft(rng).conv().relu()
    source = made.value
    made.node(
        "Conv",
        -np.abs(made.values(8, 8, 3, 3, scale=0.1)),
        np.full(8, -1, np.float32),
        pads=[1] * 4,
    )
    return made.relu().node("Add", source).tail().model()


@variant
def dead_relu_at_the_end(rng):
    made = draft(rng).conv().relu().pool().flatten()
    made.node("Gemm", -np.abs(made.values(8, 5)), np.full(5, -0.5, np.float32)).relu()
    made.shape = (5,)
    return made.model()


@variant
def clip_on_one_side_of_zero(rng):
    low = float(pick(rng, 0.25, 1.0, -2.0))
    made = draft(rng).conv()
    return (
        made.node("Clip", np.float32(low), np.float32(low + rng.uniform(0.5, 1.5)))
        .conv(4)
        .tail()
        .model()
    )


@variant
def clip_never_reached(rng):
    made = draft(rng).conv()
    return made.node("Clip", np.float32(-100), np.float32(100)).conv(4).tail().model()


@variant
def clip_of_one_bound(rng):
    made = draft(rng).conv()
    bounds = pick(rng, (np.float32(0.1), None), (None, np.float32(0.2)))
    return made.node("Clip", *bounds).conv(4).tail().model()


@variant
def relu_and_clip(rng):
    return draft(rng).conv().relu().node("Clip", None, np.float32(0.8)).tail().model()


@variant
def relu_of_the_scores(rng):
    return draft(rng).conv().relu().tail().relu().model()


@variant
def relu_with_two_readers(rng):
    made = draft(rng).conv()
    source = made.value
    made.relu().conv()
    return made.node("Add", source).relu().tail().model()


# What the network begins and ends with


@variant
def pool_first(rng):
    op = pick(rng, "AveragePool", "MaxPool")
    return (
        draft(rng).node(op, kernel_shape=[2, 2], strides=[2, 2]).half().conv().relu().tail().model()
    )


@variant
def relu_first(rng):
    return draft(rng).relu().conv().relu().tail().model()


@variant
def flatten_first(rng):
    return draft(rng).flatten().gemm(7).relu().gemm(5).model()


@variant
def vector_network(rng):
    made = draft(rng, shape=(24,), start="vector")
    return made.gemm(16).relu().gemm(5).model()


@variant
def vector_network_with_a_factor(rng):
    made = draft(rng, shape=(24,), start="vector")
    made.node("Mul", 0.5 + np.abs(made.values(24))).relu()
    return made.node("Mul", -1 - np.abs(made.values(24))).relu().gemm(5).model()


@variant
def map_as_output(rng):
    return draft(rng).conv().relu().conv(4).model()


@variant
def pool_as_output(rng):
    return draft(rng).conv().relu().pool().model()


@variant
def mean_of_the_map(rng):
    made = draft(rng, opset=pick(rng, 13, 17, 18)).conv().relu()
    axes, keep = pick(rng, [2, 3], [-1, -2]), int(rng.integers(2))
    if made.opset < 18:
        made.node("ReduceMean", axes=axes, keepdims=keep)
    else:
        made.node("ReduceMean", np.array(axes, np.int64), keepdims=keep)
    made.shape = (8,)
    return (made.flatten() if keep else made).gemm().model()


@variant
def global_max(rng):
    made = draft(rng).conv().relu().node("GlobalMaxPool")
    made.shape = (8, 1, 1)
    return made.flatten().gemm().model()


@variant
def explicit_pad(rng):
    made = draft(rng).node("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    made.shape = (3, 12, 12)
    return made.conv(pads=[0] * 4).relu().tail().model()


@variant
def automatic_padding(rng):
    made = draft(rng)
    weight = made.values(8, 3, 3, 3, scale=0.3)
    made.node("Conv", weight, auto_pad=pick(rng, "SAME_UPPER", "SAME_LOWER", "VALID"))
    made.shape = (8, 0, 0)
    return made.relu().tail().model()


@variant
def residual(rng):
    made = draft(rng).conv().relu()
    source = made.value
    made.conv().relu().conv().node("Add", source).relu()
    return made.tail().model()


@variant
def shared_weights(rng):
    made = draft(rng).conv(3).relu()
    made.node("Conv", made.constant(made.values(3, 3, 3, 3, scale=0.3)), pads=[1] * 4)
    made.norm().relu()
    made.node(
        "Conv", next(n.input[1] for n in reversed(made.nodes) if n.op_type == "Conv"), pads=[1] * 4
    )
    return made.norm().relu().tail().model()


@variant
def pruned_weights(rng):
    made = draft(rng).conv().norm().relu().conv(12).norm().relu().tail()
    for name, array in made.constants.items():
        if array.ndim == 4:
            made.constants[name] = array * (rng.random(array.shape) < 0.25)
    made.constants = {
        k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in made.constants.items()
    }
    return made.model()


@variant
def weights_of_very_different_size(rng):
    made = draft(rng).conv().relu().conv(4)
    for name, array in made.constants.items():
        if array.ndim == 4:
            size = (10.0 ** rng.uniform(-3, 1, (len(array), 1, 1, 1))).astype(np.float32)
            made.constants[name] = array * size
    return made.relu().tail().model()
