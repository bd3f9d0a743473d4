"""Compiler: capacity, proofs, memory plan, parameters and the layer table."""

import numpy as np
import pytest

from steelyard.compile import Descriptor, Operation, compile
from steelyard.compile.layers import serial_scale
from steelyard.compile.memory import Buffer, assign, lifetimes
from steelyard.compile.places import separate
from steelyard.contract import configure
from steelyard.contract.sections import MEMORIES, SERIAL_SHIFTS
from steelyard.errors import DoesNotFit, UserError
from steelyard.network import Network, NetworkBuilder, requantize
from steelyard.network.random import random_conv, random_network

CONFIG = configure(
    "array",
    lanes=8,
    columns=4,
    group=8,
    requantizers=4,
    window_groups=8,
    activation_words=4096,
    weight_words=1 << 14,
    parameter_words=1024,
    partial_sum_channels=32,
    max_layers=32,
)


def single(weight: np.ndarray, size: tuple[int, int], *, zero_point: int = 5, bias: int = 0):
    """Network of one convolution without padding."""
    builder = NetworkBuilder(
        "one", (weight.shape[1], *size), scale=0.5, zero_point=zero_point, input="x"
    )
    builder.conv(
        weight.astype(np.int8), name="only", output="y", bias=bias, multiplier=3, shift=9,
        scale=0.25, zero_point=-7,
    )  # fmt: skip
    return builder.network()


def residual() -> Network:
    """conv, conv, add with the first conv's output, max pool, average pool."""
    weight = np.random.default_rng(1).integers(-5, 6, (4, 4, 3, 3)).astype(np.int8)
    builder = NetworkBuilder("residual", (4, 6, 6), scale=0.5, zero_point=3, input="x")
    scaling = {"multiplier": 3, "shift": 9, "padding": 1}
    a = builder.conv(weight, name="first", output="a", zero_point=-5, **scaling)
    b = builder.conv(weight, name="second", output="b", zero_point=7, **scaling)
    builder.add(
        a, b, name="join", output="c", zero_point=11, lo=-100, multipliers=(77, 99), shift=8
    )
    builder.max_pool(2, name="max", output="d", stride=2, hi=90)
    builder.avg_pool(name="mean", output="e", zero_point=-2, multiplier=1234, shift=13)
    return builder.network()


def test_too_small_memories_are_named_with_the_amounts():
    config = CONFIG.with_(activation_words=16, weight_words=32, parameter_words=16, max_layers=4)
    with pytest.raises(DoesNotFit) as refusal:
        compile(residual(), config)
    # Three planes of 4 * ceil(36 / 8) words live together; 2 convolutions of 4 * 8 + 4 items.
    assert str(refusal.value) == (
        "Network 'residual' does not fit: it needs 60 activation words where the configuration has "
        "16 (44 too many), and 72 weight words where the configuration has 32 (40 too many), and "
        "17 parameter words where the configuration has 16 (1 too many), and 5 layer descriptors "
        "where the configuration has 4 (1 too many); raise activation_words to 64 and weight_words "
        "to 80 and parameter_words to 32 and max_layers to 5 in the configuration, or use a "
        "smaller batch or a sparser network."
    )
    # The advice works.
    assert compile(residual(), config.with_(**refusal.value.needs)).layers


def test_a_layer_of_more_channels_than_there_are_words_is_told_the_memory_that_it_needs():
    network = random_network(0, kinds=("conv",), layers=1, max_channels=120, max_pixels=4)
    config = CONFIG.with_(activation_words=16, weight_words=16, parameter_words=16)
    with pytest.raises(DoesNotFit, match="activation_words to .* in the configuration") as refusal:
        compile(network, config)
    assert compile(network, config.with_(**refusal.value.needs)).layers


def test_what_no_configuration_holds_is_not_advised(monkeypatch):
    monkeypatch.setitem(MEMORIES, "weight_words", 64)
    with pytest.raises(DoesNotFit, match=r"too many\); use a smaller batch or") as refusal:
        compile(residual(), CONFIG.with_(activation_words=32, weight_words=32))
    assert refusal.value.needs == {}


def test_nothing_is_packed_before_the_capacity_is_checked():
    steps = []
    with pytest.raises(DoesNotFit):
        compile(residual(), CONFIG.with_(activation_words=16), progress=lambda *a: steps.append(a))
    assert steps == []


def test_progress_names_every_layer():
    steps = []
    compile(residual(), CONFIG, progress=lambda *step: steps.append(step))
    names = ["first", "second", "join", "max", "mean"]
    assert steps == [*((n, 5, name) for n, name in enumerate(names)), (5, 5, "mean")]


@pytest.mark.parametrize("batch", [0, -1, 65536, True, 1.0])
def test_impossible_batches_are_refused(batch):
    with pytest.raises(UserError, match="The batch must be an integer from 1 to 65535, not"):
        compile(residual(), CONFIG, batch=batch)


def test_a_network_without_layers_is_refused():
    network = NetworkBuilder("none", (1, 1, 1)).network()
    with pytest.raises(UserError, match="'none' has no layer that takes any time, .*; add one, or"):
        compile(network, CONFIG)


def test_an_overflowing_accumulator_names_layer_channel_and_bits():
    weight = np.zeros((3, 16, 1, 1))
    weight[1, :8] = 127
    with pytest.raises(DoesNotFit) as refusal:
        compile(single(weight, (2, 2)), CONFIG.with_(accumulator_bits=18))
    # 8 weights of 127 times 255 reach 259,080, which takes 19 bits.
    assert str(refusal.value) == (
        "Layer 'only' can overflow the accumulator: output channel 1 needs 19 bits for one group "
        "of 8 weights and the configuration has 18; raise accumulator_bits to 19."
    )
    compile(single(weight, (2, 2)), CONFIG.with_(accumulator_bits=19))


@pytest.mark.parametrize(("values", "fits"), [((127, 1), True), ((127, 2), False)])
def test_the_proof_is_tight(values, fits):
    weight = np.zeros((1, 8, 1, 1))
    weight[0, : len(values), 0, 0] = values
    # 128 * 255 = 32,640 lies within 16 bits, 129 * 255 = 32,895 does not.
    if fits:
        compile(single(weight, (2, 2)), CONFIG.with_(accumulator_bits=16))
    else:
        with pytest.raises(DoesNotFit, match="needs 17 bits"):
            compile(single(weight, (2, 2)), CONFIG.with_(accumulator_bits=16))


def test_chunks_shrink_until_the_accumulator_holds_them():
    weight = np.full((2, 32, 1, 1), 127)
    config = CONFIG.with_(window_groups=16)
    chunks = {}
    for bits in (21, 20, 19):
        program = compile(single(weight, (2, 2)), config.with_(accumulator_bits=bits))
        chunks[bits] = Descriptor.from_words(program.descriptors[0]).chunks
    assert chunks == {21: 1, 20: 2, 19: 4}


def test_sums_beyond_32_bits_are_refused():
    weight = np.ones((1, 8, 1, 1))
    compile(single(weight, (2, 2), bias=(1 << 31) - 1 - 8 * 127 + 8 * 5), CONFIG)
    with pytest.raises(
        DoesNotFit, match="Layer 'only' can reach sums from .* to 2147483648 in output"
    ):
        compile(single(weight, (2, 2), bias=(1 << 31) - 8 * 127 + 8 * 5), CONFIG)
    with pytest.raises(DoesNotFit, match="which 32 bits do not hold"):
        compile(single(weight, (2, 2), zero_point=127, bias=-(1 << 31)), CONFIG)
    # Below likewise: neither the sums nor the bias alone, but both together.
    compile(single(-weight, (2, 2), bias=-(1 << 31) + 8 * 122), CONFIG)
    with pytest.raises(DoesNotFit, match="can reach sums from -2147483649 to"):
        compile(single(-weight, (2, 2), bias=-(1 << 31) + 8 * 122 - 1), CONFIG)


def test_folded_bias_and_scaling_lie_in_the_parameter_words():
    weight = np.arange(-4, 4).reshape(2, 4, 1, 1)
    program = compile(single(weight, (2, 2), zero_point=-9, bias=100), CONFIG)
    sums = [-4 - 3 - 2 - 1, 0 + 1 + 2 + 3]
    expected = [[100 - (128 - 9) * total & 0xFFFFFFFF, 9 << 24 | 3, 3] for total in sums]
    assert program.parameters.tolist() == expected


def test_parameters_of_pools_and_adds():
    program = compile(residual(), CONFIG)
    bases = [Descriptor.from_words(words).param_base for words in program.descriptors]
    assert bases == [0, 4, 8, 9, 13]
    items = program.parameters.tolist()
    assert items[8] == [99, 8 << 24 | 77, 77]
    addition = Descriptor.from_words(program.descriptors[2])
    assert (addition.z_a, addition.z_b) == (-5, 7)
    assert items[9:13] == [[0, 22 << 24 | 1 << 22, 1 << 22]] * 4
    assert items[13:17] == [[-9 * 11 & 0xFFFFFFFF, 13 << 24 | 1234, 1234]] * 4


def test_descriptors_carry_zero_point_and_clamp():
    program = compile(residual(), CONFIG)
    descriptors = [Descriptor.from_words(words) for words in program.descriptors]
    assert [d.op for d in descriptors] == [
        Operation.CONV,
        Operation.CONV,
        Operation.ADD,
        Operation.MAX_POOL,
        Operation.AVG_POOL,
    ]
    assert [d.z_y for d in descriptors] == [-5, 7, 11, 0, -2]
    assert [d.lo for d in descriptors] == [-128, -128, -100, -128, -128]
    assert [d.hi for d in descriptors] == [127, 127, 127, 90, 127]
    assert [(d.padded, d.pad_value) for d in descriptors] == [
        (1, 3),
        (1, -5),
        (0, 0),
        (0, 0),
        (0, 0),
    ]
    assert [d.step2 for d in descriptors] == [0, 0, 0, 1, 0]


@pytest.mark.parametrize(("batch", "step2"), [(1, 1), (2, 0)])
def test_step2_is_for_single_images_at_stride_2(batch, step2):
    program = compile(residual(), CONFIG, batch=batch)
    assert Descriptor.from_words(program.descriptors[3]).step2 == step2


def test_padding_that_no_tap_reaches_is_dropped():
    builder = NetworkBuilder("pool", (1, 4, 4))
    builder.max_pool(2, stride=2, padding=(0, 0, 1, 1))
    program = compile(builder.network(), CONFIG)
    assert Descriptor.from_words(program.descriptors[0]).padded == 0


def test_a_field_out_of_range_names_the_layer():
    descriptor = Descriptor(op=0, stride_w=256)
    with pytest.raises(UserError) as refusal:
        descriptor.words("wide")
    assert str(refusal.value) == (
        "Layer 'wide' needs stride_w = 256, but a layer descriptor holds 0 to 255; "
        "make the layer smaller."
    )


@pytest.mark.parametrize("seed", range(20))
def test_tensors_alive_together_never_overlap(seed):
    network = random_network(seed, layers=8, max_pixels=40, max_channels=9)
    buffers = lifetimes(network, separate(network)[1], 2, 8)
    peak, bases = assign(buffers)
    live = [
        sum(b.words for b in buffers if b.first <= t <= b.last) for t in range(len(network.layers))
    ]
    assert max(live) <= peak <= sum(b.words for b in buffers)
    for a in buffers:
        assert 0 <= bases[a.name] <= peak - a.words
        for b in buffers:
            if a is not b and a.first <= b.last and b.first <= a.last:
                distance = bases[b.name] - bases[a.name]
                assert distance >= a.words or -distance >= b.words


def test_a_chain_reuses_the_words_of_dead_tensors():
    buffers = [Buffer(str(n), 10, n, n + 1) for n in range(9)]
    assert assign(buffers)[0] == 20


def test_residual_inputs_stay_alive():
    network = residual()
    buffers = {b.name: b for b in lifetimes(network, separate(network)[1], 1, 8)}
    assert (buffers["a"].first, buffers["a"].last) == (0, 2)
    assert (buffers["e"].first, buffers["e"].last) == (4, 5)


def test_the_layer_table_says_where_outputs_lie_and_what_they_cost():
    program = compile(residual(), CONFIG, batch=3)
    first = program.layers[0]
    assert (first.name, first.kind, first.first, first.count) == ("first", "conv", 0, 1)
    assert first.output.shape == (4, 6, 6)
    assert first.output.pitch == 14
    nnz = np.count_nonzero(program.network.layers[0].weight)
    assert first.nnz == nnz
    assert first.ideal_cycles == -(-nnz * 36 * 3 // 32)
    assert first.predicted_cycles > first.ideal_cycles
    assert program.output == program.layers[-1].output
    assert [entry.k for entry in program.layers[2:]] == [None, None, None]


def test_explain_gives_shares_of_the_memories():
    program = compile(residual(), CONFIG)
    rows = program.explain()
    assert [row.name for row in rows] == ["first", "second", "join", "max", "mean"]
    items = program.layers[0].weight_items
    # A weight word holds 4 columns of 8 + 3 bits.
    assert rows[0].weight_bytes == -(-items * 44 // 8)
    assert rows[0].weight_utilization == items / (1 << 14)
    assert rows[2].activation_words == 60
    assert rows[2].activation_utilization == 60 / 4096
    assert 0 < rows[0].occupancy < 1
    assert [(use.memory, use.used) for use in program.uses] == [
        ("activation words", 60),
        ("weight words", 2 * items),
        ("parameter words", 17),
        ("layer descriptors", 5),
    ]


def test_a_larger_window_memory_saves_chunks():
    network = random_conv(
        np.random.default_rng(2), in_channels=16, out_channels=8, size=(8, 8), k=2, group=8
    )
    chunks = []
    for groups in (2, 8, 16, 64, 256):
        program = compile(network, CONFIG.with_(window_groups=groups))
        chunks.append(Descriptor.from_words(program.descriptors[0]).chunks)
    assert chunks[0] == 18
    assert chunks == sorted(chunks, reverse=True)
    assert chunks[-1] == 1


def test_compiling_twice_gives_the_same_words():
    network = residual()
    one, two = compile(network, CONFIG), compile(network, CONFIG)
    for name in ("descriptors", "parameters", "weights"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    assert one.layers == two.layers


INT32 = (-(1 << 31), (1 << 31) - 1)


@pytest.mark.parametrize("multiplier", [1, 3, (1 << 12) + 1, 1 << 22, 1 << 23, (1 << 24) - 1])
def test_scales_of_requantizers_of_several_cycles_keep_every_result(multiplier):
    rng = np.random.default_rng(8)
    least, most = SERIAL_SHIFTS
    up = 24 - multiplier.bit_length()
    allowed = refused = 0
    for shift in range(1, 64):
        half = (1 << shift) / (2 * multiplier)
        sums = [0, 1, -1, *INT32, *rng.integers(*INT32, 20).tolist()]
        # Beside the ends of int8 and the ties next to 0.
        for code in (0.5, 1.5, 127.5, 128.5):
            near = int(min(code * 2 * half, INT32[1] - 2))
            sums += [near - 1, near, near + 1, -near - 1, -near, 1 - near]
        if most < shift + up < 24 + 32:
            with pytest.raises(UserError, match="^Layer 'conv' scales a sum by .* at least 2"):
                serial_scale("conv", multiplier, shift)
            refused += 1
            continue
        m, s = serial_scale("conv", multiplier, shift)
        assert least <= s <= most and 0 <= m < 1 << 24
        codes = [
            requantize(np.array(sums), *scale, 0, -128, 127).tolist()
            for scale in ((multiplier, shift), (m, s))
        ]
        assert codes[0] == codes[1], (multiplier, shift, m, s)
        allowed += 1
    assert allowed and refused


def test_the_bounds_of_serial_scales():
    least, most = SERIAL_SHIFTS
    top = (1 << 24) - 1
    # The smallest scale is 2**-19, and from 2**-33 on all sums are 0 again.
    assert serial_scale("conv", 1, 19) == (1 << 23, most)
    with pytest.raises(UserError, match=r"scales a sum by 1 / 2\*\*20, .* at least 2\*\*-19"):
        serial_scale("conv", 1, 20)
    with pytest.raises(UserError, match="conv"):
        serial_scale("conv", 1, 32)
    assert serial_scale("conv", 1, 33)[0] == 0
    assert serial_scale("conv", 0, 40)[0] == 0
    # The largest is 2**9 - 2**-15; from 2**8 on a sum other than 0 leaves int8 anyhow.
    assert serial_scale("conv", top, least) == (top, least)
    assert serial_scale("conv", top, least - 1) == (top, least)
    assert serial_scale("conv", 1, 1) == (1 << 23, 24)
