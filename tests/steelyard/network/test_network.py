"""The integer network: validation, manifest, and the random networks used all over the tests."""

import json
from dataclasses import dataclass, fields, replace
from typing import Annotated, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from steelyard.errors import FileRefused, UserError
from steelyard.network import (
    LAYER_KINDS,
    Add,
    AvgPool,
    Conv,
    Layer,
    MaxPool,
    Network,
    Rank,
    Tensor,
    from_arrays,
    golden,
    output_size,
    to_arrays,
)
from steelyard.network.random import KINDS, random_conv, random_input, random_network, random_weight


def _tensor(name, shape, scale=0.5, zero_point=3):
    return Tensor(name, shape, scale, zero_point)


def _parts():
    """Tensors and layers of a small network with every kind of layer."""
    tensors = [
        _tensor("x", (3, 6, 6)), _tensor("a", (4, 6, 6)), _tensor("b", (4, 6, 6)),
        _tensor("sum", (4, 6, 6)), _tensor("max", (4, 3, 3)), _tensor("avg", (4, 2, 2)),
        _tensor("y", (5, 1, 1)),
    ]  # fmt: skip

    def conv(name, source, shape, **more):
        return Conv(
            name=name, inputs=(source,), weight=np.ones(shape, np.int8),
            bias=np.zeros(shape[0], np.int32), multiplier=np.ones(shape[0], np.int32),
            shift=np.ones(shape[0], np.int32), **more,
        )  # fmt: skip

    layers = [
        conv("conv_a", "x", (4, 3, 3, 3), output="a", padding=(1, 1, 1, 1), k=4),
        conv("conv_b", "a", (4, 4, 1, 1), output="b"),
        Add(name="add", inputs=("a", "b"), output="sum", multiplier_a=1, multiplier_b=1, shift=1),
        MaxPool(name="max", inputs=("sum",), output="max", kernel=(2, 2), stride=(2, 2)),
        AvgPool(name="avg", inputs=("max",), output="avg", kernel=(2, 2), multiplier=1, shift=2),
        conv("fc", "avg", (5, 4, 2, 2), output="y", fully_connected=True),
    ]
    return {tensor.name: tensor for tensor in tensors}, layers


def _network(changes=None, tensor_changes=None):
    tensors, layers = _parts()
    for name, change in (tensor_changes or {}).items():
        tensors[name] = replace(tensors[name], **change)
    by_name = changes or {}
    layers = [replace(layer, **by_name.get(layer.name, {})) for layer in layers]
    return Network("net", "x", ("y",), tensors, tuple(layers))


def test_kinds_are_named():
    kinds = [layer.kind for layer in _network().layers]
    assert kinds == ["conv", "conv", "add", "max_pool", "avg_pool", "fc"]


def test_macs_count_every_weight_of_every_pixel():
    network = _network()
    assert [network.macs(layer) for layer in network.layers] == [3888, 576, 0, 0, 0, 80]


def test_quantize_rounds_half_to_even_and_clips():
    tensor = _tensor("x", (1, 1, 5), scale=0.5, zero_point=3)
    values = np.array([0.25, 0.75, -0.25, 100.0, -100.0], np.float32)
    codes = tensor.quantize(values)
    assert codes.tolist() == [3, 5, 3, 127, -128]
    assert tensor.dequantize(codes).tolist() == [0.0, 1.0, 0.0, 62.0, -65.5]


@pytest.mark.parametrize(
    "size, kernel, stride, padding, expected",
    [
        ((28, 28), (3, 3), (1, 1), (1, 1, 1, 1), (28, 28)),
        ((28, 27), (3, 3), (2, 1), (0, 0, 1, 1), (14, 26)),
        ((5, 7), (5, 7), (1, 1), (0, 0, 0, 0), (1, 1)),
        ((5, 5), (2, 2), (3, 3), (0, 0, 0, 0), (2, 2)),
    ],
)
def test_output_size(size, kernel, stride, padding, expected):
    assert output_size(size, kernel, stride, padding) == expected


def _replaced(name, index, value):
    array = getattr(next(each for each in _parts()[1] if each.name == "conv_a"), name).copy()
    array[index] = value
    return {"conv_a": {name: array}}


BAD_LAYERS = [
    ({"conv_a": {"weight": np.ones((4, 3, 3, 3), np.int16)}}, "the weight must be int8 "),
    ({"conv_a": {"weight": np.ones((4, 27), np.int8)}}, "the weight must be int8 "),
    ({"conv_a": {"weight": np.ones((4, 2, 3, 3), np.int8)}}, "2 input channels where 'x' has 3"),
    ({"conv_a": {"weight": np.ones((6, 3, 3, 3), np.int8)}}, "must have the shape (6, 6, 6)"),
    (_replaced("weight", (0, 0, 0, 0), -128), "-127 to 127, but -128 occurs"),
    ({"conv_a": {"bias": np.zeros(4, np.int64)}}, "the bias must be int32 (4,), not int64"),
    ({"conv_a": {"bias": np.zeros(3, np.int32)}}, "the bias must be int32 (4,), not int32 (3,)"),
    (_replaced("multiplier", 1, 1 << 24), "largest multiplier must be an integer from 0 to 167772"),
    (_replaced("multiplier", 1, -1), "smallest multiplier must be"),
    (_replaced("shift", 1, 64), "largest shift must be an integer from 1 to 63, not 64"),
    (_replaced("shift", 1, 0), "smallest shift must be an integer from 1 to 63, not 0"),
    ({"conv_a": {"stride": (1, 5)}}, "stride must be an integer from 1 to 4, not 5"),
    ({"conv_a": {"padding": (1, 1, 3, 1)}}, "bottom padding of a kernel of 3x3 must be"),
    ({"conv_a": {"padding": (-1, 1, 1, 1)}}, "top padding of a kernel of 3x3 must be"),
    ({"conv_a": {"padding": (1, 1)}}, "the padding (top, left, bottom, right)"),
    ({"conv_a": {"k": 0}}, "k must be an integer from 1 to 32, not 0"),
    ({"conv_a": {"lo": 5, "hi": 4}}, "lo must not exceed hi, but they are 5 and 4"),
    ({"conv_a": {"hi": 128}}, "hi must be an integer from -128 to 127, not 128"),
    ({"conv_a": {"fully_connected": True}}, "kernel must cover the map of 6x6"),
    ({"conv_a": {"inputs": ("b",)}}, "input 'b' is not made before it"),
    ({"conv_a": {"inputs": ("x", "x")}}, "conv takes 1 input tensor, not 2"),
    ({"conv_a": {"output": "nowhere"}}, "output 'nowhere' is no tensor of the network"),
    ({"conv_b": {"output": "a"}}, "output 'a' is made twice"),
    ({"add": {"inputs": ("a",)}}, "add takes 2 input tensors, not 1"),
    ({"add": {"inputs": ("a", "x")}}, "add needs three equal shapes"),
    ({"add": {"multiplier_b": 1 << 24}}, "multiplier_b must be an integer from 0 to"),
    ({"add": {"shift": 0}}, "shift must be an integer from 1 to 63, not 0"),
    ({"max": {"kernel": (7, 2)}}, "A kernel of 7x2 does not fit a padded map of 6x6"),
    ({"max": {"kernel": (8, 8), "padding": (1, 1, 1, 1)}}, "height with padding must be"),
    ({"max": {"kernel": (257, 2)}}, "height without padding must be an integer from 1 to 256"),
    ({"max": {"stride": (16, 1)}}, "stride must be an integer from 1 to 15, not 16"),
    ({"avg": {"multiplier": -1}}, "multiplier must be an integer from 0 to 16777215, not -1"),
    ({"avg": {"multiplier": 0.5}}, "multiplier must be an integer"),
    ({"avg": {"shift": True}}, "shift must be an integer from 1 to 63, not True"),
    ({"avg": {"kernel": (3, 3)}}, "must have the shape (4, 1, 1)"),
]


@pytest.mark.parametrize("changes, sentence", BAD_LAYERS)
def test_a_bad_layer_is_named_with_what_is_wrong(changes, sentence):
    with pytest.raises(UserError) as info:
        _network(changes)
    (name,) = changes
    text = str(info.value)
    assert text.startswith(f"Layer {name!r}: ") and sentence in text
    assert text.endswith(".") and "\n" not in text


@pytest.mark.parametrize(
    "tensor, changes, sentence",
    [
        ("a", {"zero_point": 128}, "Tensor 'a': the zero point must be"),
        ("a", {"scale": 0.0}, "Tensor 'a': the scale must be positive and finite, not 0.0"),
        ("a", {"scale": float("nan")}, "Tensor 'a': the scale must be positive and finite"),
        ("a", {"shape": (4, 6)}, "Tensor 'a': the shape must be (channels, height, width)"),
        ("a", {"shape": (4, 0, 6)}, "Tensor 'a': height must be an integer from 1 to 65535"),
        ("a", {"name": "c"}, "Tensor 'c' is listed as 'a'"),
        ("max", {"zero_point": 4}, "Layer 'max': max_pool needs equal scale and zero point"),
        ("max", {"scale": 0.25}, "Layer 'max': max_pool needs equal scale and zero point"),
    ],
)
def test_a_bad_tensor_is_named(tensor, changes, sentence):
    with pytest.raises(UserError) as info:
        _network(tensor_changes={tensor: changes})
    assert str(info.value).startswith(sentence)


def test_network_ends_must_exist_and_names_be_unique():
    tensors, layers = _parts()
    with pytest.raises(UserError, match="has no tensor 'z'"):
        Network("net", "z", ("y",), tensors, tuple(layers))
    with pytest.raises(UserError, match="Output 'y' of network 'net' is made by no layer"):
        Network("net", "x", ("y",), tensors, tuple(layers[:-1]))
    with pytest.raises(UserError, match="Tensor 'y' of network 'net' is made by no layer"):
        Network("net", "x", ("avg",), tensors, tuple(layers[:-1]))
    twins = (layers[0], replace(layers[1], name="conv_a"), *layers[2:])
    with pytest.raises(UserError, match="Layer 'conv_a' occurs twice"):
        Network("net", "x", ("y",), tensors, twins)
    with pytest.raises(UserError, match=r"The output_view of network 'net' must be a shape of the"):
        Network("net", "x", ("y",), tensors, tuple(layers), output_views=((2, 0, 3),))


def _same(one, other):
    assert (one.name, one.input, one.output) == (other.name, other.input, other.output)
    assert list(one.tensors.items()) == list(other.tensors.items())
    assert [type(layer) for layer in one.layers] == [type(layer) for layer in other.layers]
    for a, b in zip(one.layers, other.layers, strict=True):
        for each in fields(a):
            np.testing.assert_array_equal(getattr(a, each.name), getattr(b, each.name))


@pytest.mark.parametrize("seed", range(5))
def test_manifest_round_trip_through_json(seed):
    network = random_network(seed)
    manifest, arrays = to_arrays(network)
    again = from_arrays(json.loads(json.dumps(manifest, allow_nan=False)), arrays)
    _same(network, again)


def test_manifest_holds_plain_integers():
    network = _network({"avg": {"multiplier": np.int64(7)}})
    manifest, arrays = to_arrays(network)
    _same(network, from_arrays(json.loads(json.dumps(manifest)), arrays))


def _edit(path, value):
    """Manifest and arrays of the small network with one entry set, or removed by None."""
    manifest, arrays = to_arrays(_network())
    place = manifest
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return manifest, arrays


@pytest.mark.parametrize(
    "path, value, sentence",
    [
        (("input_view",), None, "Entry 'input_view' of the network is missing"),
        (("outputs",), None, "Entry 'outputs' of the network is missing"),
        (("extra",), 1, "Entry 'extra' of the network is unknown"),
        (("name",), 3, "Entry 'name' of the network cannot be 3"),
        (("layers",), {}, "Entry 'layers' of the network cannot be {}"),
        (("layers", 0), [], "Entry 'kind' of layer 0 cannot be None"),
        (("layers", 0, "kind"), "lstm", "Entry 'kind' of layer 0 cannot be 'lstm'"),
        (("layers", 0, "kind"), ["conv"], "Entry 'kind' of layer 0 cannot be ['conv']"),
        (("layers", 0, "stride", 1), 1.0, "Entry 'stride' of layer 0 cannot be [1, 1.0]"),
        (("layers", 0, "stride"), True, "Entry 'stride' of layer 0 cannot be True"),
        (("layers", 0, "padding"), [1, 1, 1], "Entry 'padding' of layer 0 cannot be [1, 1, 1]"),
        (("layers", 0, "inputs"), "x", "Entry 'inputs' of layer 0 cannot be 'x'"),
        (("layers", 0, "inputs"), [1], "Entry 'inputs' of layer 0 cannot be [1]"),
        (("layers", 0, "output"), None, "Entry 'output' of layer 0 is missing"),
        (("layers", 3, "kernel"), [2, "2"], "Entry 'kernel' of layer 3 cannot be [2, '2']"),
        (("tensors", 0), 5, "The description of tensor 0 is no table"),
        (("tensors", 0, "scale"), "big", "Entry 'scale' of tensor 0 cannot be 'big'"),
        (("tensors", 0, "shape"), [1, 2], "Entry 'shape' of tensor 0 cannot be [1, 2]"),
        (("tensors", 1, "name"), "x", "Tensor 'x' is described twice"),
    ],
)
def test_a_bad_manifest_is_refused(path, value, sentence):
    with pytest.raises(FileRefused) as info:
        from_arrays(*_edit(path, value))
    assert str(info.value).startswith(sentence)


def test_missing_surplus_and_wrong_arrays_are_refused():
    manifest, arrays = to_arrays(_network())
    short = {key: value for key, value in arrays.items() if key != "layer1.bias"}
    with pytest.raises(FileRefused, match=r"Array 'layer1\.bias' is missing"):
        from_arrays(manifest, short)
    with pytest.raises(FileRefused, match=r"Array 'layer2\.bias' belongs to no layer"):
        from_arrays(manifest, {**arrays, "layer2.bias": np.zeros(4, np.int32)})
    for bad, found in ((np.zeros(4, np.float32), "float32"), (np.zeros((4, 1), np.int32), "int32")):
        with pytest.raises(FileRefused) as info:
            from_arrays(manifest, {**arrays, "layer1.bias": bad})
        sentence = f"Array 'layer1.bias' must be int32 of rank 1, not {found} of shape {bad.shape};"
        assert str(info.value).startswith(sentence)


@dataclass(frozen=True, kw_only=True, eq=False)
class Everything(Layer):
    """Kind with a field of every type that files know; its output is its input."""

    key: ClassVar[str] = "everything"
    slope: float
    wide: bool
    mode: str
    limit: int | None = None
    steps: tuple[float, ...] = ()
    pair: tuple[int, str] = (0, "")
    table: Annotated[NDArray[np.int16], Rank(2)]

    def output_shape(self, *inputs):
        return inputs[0]

    def check(self, inputs, output):
        self.check_shape(inputs, output)

    def golden(self, inputs, output):
        return lambda x: x


def _everything(**more):
    fields = {
        "slope": np.float32(0.25), "wide": True, "mode": "half", "steps": (0.5, 2),
        "pair": (np.int64(3), "up"), "table": np.arange(6, dtype=np.int16).reshape(2, 3), **more,
    }  # fmt: skip
    layer = Everything(name="all", inputs=("x",), output="y", **fields)
    tensors = {name: _tensor(name, (2, 3, 3)) for name in ("x", "y")}
    return Network("any", "x", ("y",), tensors, (layer,))


def test_a_new_kind_needs_an_entry_in_the_registry():
    with pytest.raises(UserError, match="Everything is no known kind; use Conv, MaxPool, "):
        _everything()


@pytest.mark.parametrize("limit", [None, 7])
def test_files_follow_from_the_types_of_a_kinds_fields(monkeypatch, limit):
    monkeypatch.setitem(LAYER_KINDS, "everything", Everything)
    network = _everything(limit=limit)
    manifest, arrays = to_arrays(network)
    manifest = json.loads(json.dumps(manifest, allow_nan=False))
    again = from_arrays(manifest, arrays)
    _same(network, again)
    (layer,) = again.layers
    assert isinstance(layer, Everything)
    assert layer.wide is True and layer.steps == (0.5, 2.0) and type(layer.steps[1]) is float
    assert list(arrays) == ["layer0.table"]
    x = np.arange(-9, 9, dtype=np.int8).reshape(1, 2, 3, 3)
    assert np.array_equal(golden.run(again, x), x)


@pytest.mark.parametrize(
    "key, value",
    [
        ("slope", "steep"), ("slope", True), ("slope", None), ("wide", 1), ("mode", 3),
        ("limit", 1.0), ("steps", [True]), ("steps", 1.0), ("pair", [3]), ("pair", ["up", 3]),
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_refused(monkeypatch, key, value):
    monkeypatch.setitem(LAYER_KINDS, "everything", Everything)
    manifest, arrays = to_arrays(_everything())
    manifest["layers"][0][key] = value
    with pytest.raises(FileRefused) as info:
        from_arrays(manifest, arrays)
    assert str(info.value).startswith(f"Entry {key!r} of layer 0 cannot be {value!r}")


def test_random_networks_follow_from_the_seed():
    _same(random_network(11), random_network(11))
    one, other = (to_arrays(random_network(seed))[0] for seed in (11, 12))
    assert one != other


def test_random_networks_cover_the_contract():
    limits = {"max_pixels": 80, "max_channels": 20}
    networks = [random_network(seed, **limits) for seed in range(60)]
    layers = [layer for network in networks for layer in network.layers]
    convs = [layer for layer in layers if isinstance(layer, Conv)]
    tensors = [tensor for network in networks for tensor in network.tensors.values()]
    assert {layer.kind for layer in layers} == set(KINDS)
    assert all(tensor.zero_point for tensor in tensors)
    assert all(t.shape[0] <= 20 and t.shape[1] * t.shape[2] <= 80 for t in tensors)
    assert {side for conv in convs for side in conv.weight.shape[2:]} >= set(range(1, 8))
    assert {conv.stride for conv in convs} == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert any(len(set(conv.padding)) > 2 for conv in convs)
    assert min(conv.weight.min() for conv in convs) == -127
    assert max(conv.weight.max() for conv in convs) == 127
    assert {int(m).bit_length() for conv in convs for m in conv.multiplier} == set(range(25))
    assert {1, 63} <= {int(s) for conv in convs for s in conv.shift}
    assert {None, 1, 16} <= {conv.k for conv in convs}


@pytest.mark.parametrize("group", [4, 8, 16, 32])
@pytest.mark.parametrize("k", [1, 3])
def test_random_weights_keep_at_most_k_of_every_group(group, k):
    rng = np.random.default_rng(group + k)
    weight = random_weight(rng, (9, 5, 3, 3), group=group, k=k)
    flat = weight.transpose(0, 2, 3, 1).reshape(9, -1)
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % group)))
    kept = np.count_nonzero(flat.reshape(9, -1, group), axis=2)
    assert kept.max() == k
    assert (kept == k).mean() > 0.8


def test_random_outputs_are_seldom_stuck_at_a_clamp():
    stuck = []
    for seed in range(30):
        network = random_network(seed)
        images = random_input(network, 4, seed)
        traced = golden.run(network, images, trace=True, threads=1)
        stuck += [len(np.unique(traced[layer.output])) < 4 for layer in network.layers]
    assert np.mean(stuck) < 0.1


def test_random_conv_makes_the_layer_asked_for():
    rng = np.random.default_rng(0)
    network = random_conv(
        rng, in_channels=7, out_channels=3, size=(5, 8), kernel=(2, 5), stride=(2, 1),
        padding=(1, 0, 0, 3), k=2, group=8,
    )  # fmt: skip
    (layer,) = network.layers
    assert isinstance(layer, Conv)
    assert layer.weight.shape == (3, 7, 2, 5)
    assert (layer.stride, layer.padding, layer.k) == ((2, 1), (1, 0, 0, 3), 2)
    (full,) = random_conv(rng, size=(4, 9), fully_connected=True).layers
    assert full.kind == "fc"


def test_random_input_mixes_in_extremes():
    network = random_network(1)
    images = random_input(network, 5, 3)
    assert images.dtype == np.int8
    assert (images[0] == -128).all() and (images[1] == 127).all()
    np.testing.assert_array_equal(images, random_input(network, 5, 3))


def test_unknown_kinds_and_limits_are_refused():
    with pytest.raises(UserError, match="Random kinds must be some of conv, fc, "):
        random_network(0, kinds=("lstm",))
    with pytest.raises(UserError, match="at least 1 layer, pixel and channel, not 6, 0 and 40"):
        random_network(0, max_pixels=0)
