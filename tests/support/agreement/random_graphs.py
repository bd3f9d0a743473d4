"""Random quantized graphs over the operators that the importer has, against onnxruntime.

``python -m agreement.random_graphs --count 500 --seed 1`` prints how many codes of which kinds of
layers are equal, each layer fed onnxruntime's own codes, and stops at the first that is off by more
than a tie; the seed of a graph rebuilds it.
"""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import onnx

from agreement.measure import assert_ties, table
from qdq_graphs import Qdq, images, session
from steelyard import importer
from steelyard.compare import Agreement, agreements
from steelyard.errors import UserError
from steelyard.network import Network, compose_tables, golden
from steelyard.network.random import random_input

OPSETS = (13, 14, 17, 18, 19, 21, 23, 25, 26)
FUNCTIONS = {
    "Abs": 13, "Ceil": 13, "Celu": 13, "Elu": 13, "Erf": 13, "Floor": 13, "Gelu": 20,
    "HardSigmoid": 13, "HardSwish": 14, "LeakyRelu": 13, "Mish": 18, "Neg": 13, "Round": 13,
    "Selu": 13, "Sigmoid": 13, "Sign": 13, "Softplus": 13, "Softsign": 13, "Tanh": 13,
    "ThresholdedRelu": 13,
}  # fmt: skip
"""Functions of each element, and the opset from which they are."""
CALIBRATION = 3
COUNT = 24
"""Images that a graph is compared on."""
CLOSE = 0.99
"""Share of an output's elements that are at most a step from onnxruntime's."""


class RandomGraph(Qdq):
    """Graph of several branches whose every choice comes from a seed.

    Parameters
    ----------
    seed : of all choices
    """

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.turn = seed
        shape = [int(self.draw.integers(low, high)) for low, high in ((1, 6), (7, 17), (7, 17))]
        super().__init__(*shape, opset=int(self.pick(*OPSETS)))
        self.input = images(tuple(shape), CALIBRATION, seed)
        self.shapes: dict[str, tuple[int, ...]] = {"x": tuple(shape)}
        self.used: set[str] = set()
        self.graph = self._build()

    def pick(self, *choices: Any) -> Any:
        """One of the choices."""
        return choices[int(self.draw.integers(len(choices)))]

    def quantized(self, value: str) -> str:
        """Pair whose scale fits what the value is on a few images, or clips some of it."""
        found = session(self.model(value)).run(None, {"x": self.input})[0]
        low, high = min(float(found.min()), 0.0), float(found.max())
        # What is never reached still has steps larger than those of the sums that make it.
        high = max(high, 0.05)
        dtype = self.pick(np.int8, np.uint8)
        scale = (high - low) / 255 * float(self.draw.uniform(0.6, 1.3))
        if self.pick(0, 0, 0, 1):
            scale = 2.0 ** np.round(np.log2(scale))
        limits = np.iinfo(dtype)
        zero = int(np.clip(np.rint(limits.min - low / scale), limits.min, limits.max))
        if self.pick(0, 0, 1):
            zero = 0 if dtype is np.int8 else 128
            scale *= 1.6
        pair = self.pair(value, scale, zero, dtype)
        self.shapes[pair] = found.shape[1:]
        return pair

    def weighted(self, shape: tuple[int, ...], axis: int = 0) -> tuple[str, np.ndarray]:
        """Random weight, of one scale or one for each channel, and its scales."""
        outputs = shape[axis]
        per_channel = bool(self.pick(0, 1))
        size = outputs if per_channel else 1
        fan = np.prod(shape) / outputs
        steps = (self.draw.uniform(0.3, 1.2, size) / 73 / np.sqrt(fan)).astype(np.float32)
        codes = self.draw.integers(-127, 128, shape).astype(np.int8)
        codes[self.draw.random(shape) < self.pick(0, 0.5, 0.9)] = 0
        zero: int = 0
        dtype: Any = np.int8
        if self.pick(0, 0, 0, 1):
            dtype, zero = np.uint8, int(self.draw.integers(120, 136))
            codes = np.clip(codes.astype(np.int16) + zero, 0, 255).astype(np.uint8)
        points = np.full(size, zero, dtype)
        if not per_channel:
            steps, points = steps.reshape(()), points.reshape(())
        options = {"axis": axis} if per_channel else {}
        stored = map(self.constant, (codes, steps, points))
        return self.op("DequantizeLinear", *stored, **options), steps

    def bias(self, value: str, steps: np.ndarray, count: int) -> list[str]:
        """No bias, one in float, or one in codes at the scale of the sums."""
        how = self.pick("none", "float", "codes")
        if how == "none":
            return []
        numbers = self.draw.uniform(-0.7, 0.7, count).astype(np.float32)
        if how == "float":
            return [self.constant(numbers)]
        scale = np.float32(self.scale_of(value)) * np.broadcast_to(steps, count)
        codes = np.clip(np.rint(numbers / scale), -(2**30), 2**30).astype(np.int32)
        zeros = np.zeros(count, np.int32)
        stored = map(self.constant, (codes, scale.astype(np.float32), zeros))
        return [self.op("DequantizeLinear", *stored, axis=0)]

    def scale_of(self, pair: str) -> float:
        """Scale of a quantized value, seen through the views behind it."""
        node = next(each for each in self.nodes if pair in each.output)
        while node.op_type != "DequantizeLinear":
            node = next(each for each in self.nodes if node.input[0] in each.output)
        stored = next(each for each in self.constants if each.name == node.input[1])
        return float(onnx.numpy_helper.to_array(stored))

    def window(self, size: tuple[int, int], largest: int) -> dict[str, Any]:
        """Kernel, stride and padding of a layer over a map."""
        kernel = [int(self.draw.integers(1, min(largest, side) + 1)) for side in size]
        strides = [int(self.pick(1, 1, 1, 2, 3))] * 2
        if self.draw.random() < 0.2:
            strides[0] = int(self.pick(1, 2, 3))
        options: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
        how = self.pick("none", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID")
        if how == "pads":
            options["pads"] = [int(self.draw.integers(0, kernel[i % 2])) for i in range(4)]
        elif how == "VALID" or (how != "none" and max(strides) <= min(kernel)):
            # onnxruntime takes no stride beyond the kernel there.
            options["auto_pad"] = how
        return options

    def convolution(self, value: str, outputs: int | None = None, **fixed: Any) -> str:
        channels, height, width = self.shapes[value]
        outputs = outputs or int(self.draw.integers(1, 9))
        options = fixed or self.window((height, width), 5)
        groups = 1
        if self.pick(0, 0, 1):
            # Depthwise, or any other number of groups.
            groups = int(self.pick(channels, *(n for n in range(1, channels) if not channels % n)))
            outputs = groups * int(self.draw.integers(1, 4))
            options["group"] = groups
        kernel, steps = self.weighted((outputs, channels // groups, *options["kernel_shape"]))
        y = self.op("Conv", value, kernel, *self.bias(value, steps, outputs), **options)
        return self.clamped(y)

    def clamped(self, y: str) -> str:
        """Clamps and a pooling in float between a layer and its quantizer, or nothing."""
        how = self.pick("none", "none", "relu", "relu6", "clip")
        if how == "relu":
            y = self.op("Relu", y)
        elif how != "none":
            low, high = (0, 6) if how == "relu6" else self.draw.uniform((-2, 0.2), (-0.2, 2))
            y = self.op("Clip", y, self.constant(np.float32(low)), self.constant(np.float32(high)))
        if self.pick(0, 0, 0, 0, 1):
            y = self.op("MaxPool", y, kernel_shape=[2, 2], pads=[0, 0, 1, 1])
        return self.quantized(y)

    def pooling(self, value: str) -> str:
        op = self.pick("MaxPool", "AveragePool")
        options = self.window(self.shapes[value][1:], 4)
        if op == "AveragePool":
            options["count_include_pad"] = int(self.pick(0, 1))
        if self.pick(0, 1) and "auto_pad" not in options:
            # onnx infers a window behind the map where the stride exceeds the kernel, or the
            # padding reaches a stride.
            strides, pads = options["strides"], options.get("pads", [0])
            fits = max(strides) <= min(options["kernel_shape"]) and max(pads) < min(strides)
            options["ceil_mode"] = int(fits)
        y = self.op(op, value, **options)
        if op == "MaxPool" and self.pick(0, 1):
            scale = next(n for n in self.nodes if value in n.output)
            if scale.op_type == "DequantizeLinear":
                # The same scale again: the pooling alone, without a requantization.
                codes = self.op("QuantizeLinear", y, *scale.input[1:])
                pair = self.op("DequantizeLinear", codes, *scale.input[1:])
                self.shapes[pair] = (
                    session(self.model(pair)).run(None, {"x": self.input})[0].shape[1:]
                )
                return pair
        return self.quantized(y)

    def sum(self, value: str) -> str:
        """Residual add with another value of the shape, or with a branch made for it."""
        shape = self.shapes[value]
        others = [n for n, s in self.shapes.items() if s == shape and n not in (value, "x")]
        other = str(self.pick(*others)) if others and self.pick(0, 1) else None
        other = other or self.convolution_like(value)
        self.used.add(other)
        return self.clamped_sum(self.op("Add", *self.pick((value, other), (other, value))))

    def joined(self, value: str) -> str:
        """Channels of two or three values of one map, in one scale or in several."""
        size = self.shapes[value][1:]
        others = [n for n, s in self.shapes.items() if s[1:] == size and n not in ("x", *self.used)]
        parts = [value, *(str(self.pick(*others)) for _ in range(self.pick(1, 2)))]
        if self.pick(0, 1):
            parts[1] = self.op("Relu", self.op("Conv", value, self.weighted(
                (int(self.draw.integers(1, 5)), self.shapes[value][0], 1, 1))[0]))  # fmt: skip
        return self.quantized(self.op("Concat", *parts, axis=1))

    def sliced(self, value: str) -> str:
        """Some of the channels."""
        channels = self.shapes[value][0]
        first = int(self.draw.integers(0, channels))
        last = int(self.draw.integers(first + 1, channels + 1))
        ends = (self.constant(np.array([end])) for end in (first, last, 1))
        return self.quantized(self.op("Slice", value, *ends))

    def convolution_like(self, value: str) -> str:
        side = int(self.pick(1, 3))
        options = {"kernel_shape": [side, side], "pads": [side // 2] * 4}
        kernel, steps = self.weighted((self.shapes[value][0], self.shapes[value][0], side, side))
        bias = self.bias(value, steps, self.shapes[value][0])
        return self.quantized(self.op("Conv", value, kernel, *bias, **options))

    def clamped_sum(self, y: str) -> str:
        return self.quantized(self.op("Relu", y) if self.pick(0, 1) else y)

    def scaled(self, value: str) -> str:
        factor = self.constant(np.float32(self.draw.uniform(0.2, 3)))
        return self.quantized(self.op(self.pick("Mul", "Div"), value, factor))

    def pointwise(self, value: str) -> str:
        """Functions of each element that the opset has, with a quantizer between or without."""
        for _ in range(self.pick(2, 3)):
            value = self.function(self.quantized(value) if self.pick(0, 1) else value)
        return self.quantized(value)

    def function(self, value: str) -> str:
        # They take turns, so that few graphs have them all.
        known = [op for op, since in FUNCTIONS.items() if since <= self.opset]
        op, self.turn = known[self.turn % len(known)], self.turn + 1
        options: dict[str, Any] = {}
        if op in ("Elu", "LeakyRelu") or (op == "HardSigmoid" and self.pick(0, 1)):
            options["alpha"] = float(self.draw.uniform(0.05, 0.7))
        if op == "Gelu":
            options["approximate"] = self.pick("none", "tanh")
        return self.op(op, value, **options)

    def chain(self, value: str) -> str:
        """Functions of one value as exporters write them, with quantizers between or without."""
        between: Any = self.pick(self.quantized, lambda y: y)

        def number(low: float, high: float) -> str:
            return self.constant(np.float32(self.draw.uniform(low, high)))

        how = self.pick("silu", "hard swish", "gelu", "powers", "affine", "bounds")
        if how == "silu":
            y = self.op("Mul", value, between(self.op("Sigmoid", value)))
        elif how == "hard swish":
            y = between(self.op("Add", value, self.constant(np.float32(3))))
            ends = (self.constant(np.float32(each)) for each in (0, 6))
            y = between(self.op("Clip", y, *ends))
            y = between(self.op("Mul", y, value) if self.pick(0, 1) else self.op("Mul", value, y))
            y = self.op("Div", y, self.constant(np.float32(6)))
        elif how == "gelu":
            y = between(self.op("Div", value, self.constant(np.float32(np.sqrt(2)))))
            y = between(self.op("Add", between(self.op("Erf", y)), self.constant(np.float32(1))))
            y = self.op("Mul", between(self.op("Mul", value, y)), self.constant(np.float32(0.5)))
        elif how == "powers":
            ends = (self.constant(np.float32(each)) for each in (-4, 4))
            y = between(self.op("Clip", value, *ends))
            y = between(self.op("Pow", y, self.constant(np.float32(self.pick(2, 3)))))
            y = between(self.op("Sqrt", between(self.op("Abs", y))))
            y = self.op(self.pick("Add", "Sub", "Mul"), y, value)
        elif how == "affine":
            y = between(self.op("Sub", number(-2, 2), value))
            y = between(self.op("Mul", y, number(-3, -0.5)))
            y = between(self.op("Add", number(-1, 1), between(self.op("Neg", y))))
            y = between(self.op("Div", y, number(-2, -0.3)))
            ends = (self.constant(np.float32(each)) for each in (-3, 3))
            y = between(self.op("Exp", self.op("Clip", y, *ends)))
            y = self.op("Reciprocal", between(self.op("Add", y, number(1, 2))))
        else:
            y = between(self.op("Max", value, number(-1, 0)))
            y = self.op("Log", between(self.op("Add", self.op("Abs", y), number(1, 2))))
            y = self.op("Min", between(y), number(0.1, 1))
        return self.quantized(y)

    def sloped(self, value: str) -> str:
        """PRelu or LeakyRelu, behind a convolution or alone."""
        y, shape = value, self.shapes[value]
        if self.pick(0, 1):
            outputs = int(self.draw.integers(1, 9))
            y = self.op("Conv", value, self.weighted((outputs, shape[0], 1, 1))[0])
            shape = (outputs, *shape[1:])
        if self.pick(0, 1):
            return self.quantized(self.op("LeakyRelu", y, alpha=float(self.draw.uniform(0, 1.5))))
        count = int(self.pick(1, shape[0]))
        slopes = self.draw.uniform(0, 1.5, (count, 1, 1)).astype(np.float32)
        return self.quantized(self.op("PRelu", y, self.constant(slopes)))

    def product(self, value: str) -> str:
        """With another value of the shape, with the value itself, or with a factor a channel."""
        shape = self.shapes[value]
        others = [n for n, s in self.shapes.items() if s == shape and n not in ("x", *self.used)]
        other = str(self.pick(*others))
        if self.pick(0, 1):
            other = self.quantized(self.op("GlobalAveragePool", value))
            other = self.pointwise(self.convolution(other, shape[0], kernel_shape=[1, 1]))
            self.used.add(other)
        if self.shapes[other][0] != shape[0]:
            other = value  # A grouped convolution has more channels.
        y = self.op("Mul", *self.pick((value, other), (other, value)))
        return self.clamped_sum(y)

    def padded(self, value: str) -> str:
        amounts = [0, 0, *self.draw.integers(0, 3, 2), 0, 0, *self.draw.integers(0, 3, 2)]
        y = self.op("Pad", value, self.constant(np.array(amounts, np.int64)))
        channels, height, width = self.shapes[value]
        self.shapes[y] = (channels, height + amounts[2] + amounts[6],
                          width + amounts[3] + amounts[7])  # fmt: skip
        self.used.add(y)
        return self.convolution(y, **self.window_without_padding(self.shapes[y][1:]))

    def window_without_padding(self, size: tuple[int, int]) -> dict[str, Any]:
        kernel = [int(self.draw.integers(1, min(5, side) + 1)) for side in size]
        return {"kernel_shape": kernel, "strides": [int(self.pick(1, 2)), int(self.pick(1, 2))]}

    def head(self, value: str) -> str:
        """Fully connected layers behind a flatten or a mean."""
        how = self.pick("flatten", "mean", "maximum", "reduce")
        if how in ("mean", "maximum"):
            value = self.op(f"Global{'Average' if how == 'mean' else 'Max'}Pool", value)
            value = self.quantized(value)
        elif how == "reduce":
            axes = {"axes": [2, 3]} if self.opset < 18 else {}
            inputs = [] if axes else [self.constant(np.array([2, 3]))]
            value = self.quantized(self.op("ReduceMean", value, *inputs, keepdims=1, **axes))
        features = int(np.prod(self.shapes[value]))
        flat = self.op("Flatten", value)
        self.shapes[flat] = (features,)
        op = self.pick("Gemm", "MatMul")
        transposed = op == "Gemm" and bool(self.pick(0, 1))
        outputs = int(self.draw.integers(1, 11))
        shape = (outputs, features) if transposed else (features, outputs)
        kernel, steps = self.weighted(shape, 0 if transposed else 1)
        bias = self.bias(flat, steps, outputs) if op == "Gemm" else []
        options = {"transB": 1} if transposed else {}
        return self.clamped_sum(self.op(op, flat, kernel, *bias, **options))

    def _build(self) -> onnx.ModelProto:
        ways = {
            "convolution": 5, "pooling": 2, "sum": 3, "scaled": 1, "requantized": 1, "padded": 1,
            "rectified": 1, "joined": 2, "sliced": 1, "pointwise": 3, "product": 2,
            "chain": 2, "sloped": 2,
        }  # fmt: skip
        value = self.quantized("x")
        for _ in range(int(self.draw.integers(2, 7))):
            way = self.pick(*(name for name, weight in ways.items() for _ in range(weight)))
            # Mostly the newest value, sometimes an older one, which branches the graph.
            live = [name for name in self.shapes if name not in ("x", *self.used)]
            source = str(self.pick(value, value, value, *live))
            if way == "requantized":
                value = self.quantized(source)
            elif way == "rectified":
                value = self.quantized(self.op("Relu", source))
            else:
                value = getattr(self, way)(source)
            if min(self.shapes[value][1:]) < 3:
                break
        last = self.head(value) if self.pick(0, 1) else value
        return self.model(*self.outputs(last) if self.pick(0, 1) else [last])

    def outputs(self, last: str) -> list[str]:
        """Some more values, which layers may read too, and views and second names of some."""
        live = [name for name in self.shapes if name not in ("x", *self.used)]
        found = [last, *(str(self.pick(*live)) for _ in range(self.pick(1, 2, 3)))]
        found = list(dict.fromkeys(found))
        for _ in range(self.pick(0, 0, 1, 2)):
            found.append(self.op(self.pick("Flatten", "Identity"), str(self.pick(*found))))
        return [found[place] for place in self.draw.permutation(len(found))]


def compared(seed: int) -> list[Agreement]:
    """Agreement of the layers of the seed's graph.

    Raises
    ------
    AssertionError
        If a layer differs by more than ties.
    """
    graph = RandomGraph(seed)
    # A chain of roundings may carry a tie further than a step, so each is compared alone.
    network = importer.load(graph.graph, compose=False)
    x = images(graph.shape, COUNT, seed + 1)
    found = agreements(graph.graph, network, x)
    # Float32 decides on ties, of which averages of equal scales have many.
    assert_ties(found, share=0.0)
    assert_composed(network, seed)
    assert_outputs(graph.graph, network, x)
    return found


def assert_outputs(model: onnx.ModelProto, network: Network, x: np.ndarray) -> None:
    """Every output has the file's name and shape, and mostly its values, run as a whole."""
    names = [item.name for item in model.graph.output]
    assert list(network.outputs) == names
    source = network.tensor(network.input)
    codes = source.quantize(network.planes(source.name, x))
    traced = golden.run(network, codes, trace=True, threads=1)
    right = session(model).run(names, {model.graph.input[0].name: x})
    for name, view, values in zip(names, network.output_views, right, strict=True):
        assert values.shape[1:] == view
        tensor = network.tensor(name)
        gap = np.abs(tensor.dequantize(traced[name]) - network.planes(name, values))
        # A tie in one layer may be several steps some layers on.
        assert np.mean(gap < 1.5 * tensor.scale) >= CLOSE, f"{name} has other values"


def assert_composed(network: Network, seed: int) -> None:
    """Chains as tables give the codes that their layers give, of random codes."""
    composed = compose_tables(network)
    x = random_input(network, 4, seed)
    right, found = (golden.run(each, x, trace=True, threads=1) for each in (network, composed))
    for name, codes in found.items():
        assert np.array_equal(codes, right[name]), f"{name} has other codes composed"


@click.command()
@click.option("--count", type=click.IntRange(min=1), default=500, help="Graphs.")
@click.option("--seed", type=int, default=0, help="Of the first graph; the others follow.")
def main(count: int, seed: int) -> None:
    """Compare random graphs and print the share of equal codes."""
    rows: list[Agreement] = []
    for each in range(seed, seed + count):
        try:
            rows += compared(each)
        except (AssertionError, UserError) as error:
            raise click.ClickException(f"seed {each}: {error}") from None
    click.echo(table(rows))
    click.echo(f"{count} graphs from seed {seed}: everything else are ties")


if __name__ == "__main__":
    main()
