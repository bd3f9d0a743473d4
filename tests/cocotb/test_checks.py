"""The testbenches' own checks: each error of the gateware is seen and its place is named."""

from random import Random

import numpy as np
import pytest

from steelyard.compile import Descriptor
from steelyard.contract import configure
from steelyard.contract.latencies import MINIMUM_DRAIN
from steelyard.network import golden
from steelyard_hw.output.stage import Beat
from steelyard_sim.cases.array import BeatChecker, random_array_case
from steelyard_sim.cases.program import Script, random_program

CONFIG = configure(
    "array",
    lanes=4,
    columns=2,
    group=4,
    requantizers=2,
    window_groups=4,
    activation_words=512,
    weight_words=512,
    parameter_words=48,
    partial_sum_channels=8,
    max_layers=8,
)


def chunked_case():
    """Layer with partial sums and several passes."""
    cases = (random_array_case(seed, CONFIG) for seed in range(100))
    return next(case for case in cases if case.layer.chunks > 1 and case.layer.passes > 1)


def right_beats(case):
    """Cycle by cycle what a faultless array gives: a beat's fields, or None."""
    d, layout = case.layer, Beat(CONFIG)
    for tile in range(d.out_tiles):
        for chunk in range(d.chunks):
            for channel in range(case.sums.shape[2]):
                if channel % CONFIG.engine.columns == 0:
                    yield from [None] * MINIMUM_DRAIN
                for beat in range(CONFIG.drain_beats):
                    lanes = slice(
                        beat * CONFIG.output.requantizers, (beat + 1) * CONFIG.output.requantizers
                    )
                    fields = {
                        "data": case.sums[tile, chunk, channel, lanes].tolist(),
                        "accumulate": int(chunk > 0),
                        "store": int(chunk < d.chunks - 1),
                        "psum": channel * CONFIG.drain_beats + beat,
                        "param": d.param_base + channel,
                        "row": d.out_base + channel * d.out_pitch + tile,
                        "beat": beat,
                    }
                    yield layout.const(fields).as_value().value


def check(case, beats):
    checker = BeatChecker(case)
    for beat in beats:
        checker.step(beat is not None, beat or 0)
    return checker


def test_right_beats_pass():
    case = chunked_case()
    assert check(case, right_beats(case)).complete


@pytest.mark.parametrize("field", ["data", "accumulate", "store", "psum", "param", "row", "beat"])
def test_a_wrong_bit_in_any_field_of_a_beat_is_found(field):
    case = chunked_case()
    beats = list(right_beats(case))
    # The last beat writes: all its fields matter, its partial sum's address too.
    last = max(n for n, beat in enumerate(beats) if beat is not None)
    beats[last] ^= 1 << Beat(CONFIG)[field].offset
    with pytest.raises(AssertionError, match="^Tile .* instead of "):
        check(case, beats)


def test_a_missing_beat_drains_too_close_and_beats_too_many_are_found():
    case = chunked_case()
    beats = list(right_beats(case))
    assert not check(case, beats[:-1]).complete
    with pytest.raises(AssertionError, match="more beats"):
        check(case, [*beats, beats[-1]])
    with pytest.raises(AssertionError, match=r"too soon|cycles apart"):
        check(case, [beat for beat in beats if beat is not None])


def faultless_answers(script):
    """Answers of an accelerator without a fault."""
    program = script.program
    trace = golden.run(program.network, script.x, trace=True)
    answers = []
    for layer in program.network.layers:
        answers += program.pack_activations(trace[layer.output]).tolist()
    for words in program.descriptors:
        d = Descriptor.from_words(words)
        taps = d.kernel_h * d.kernel_w * d.in_channels * (2 if d.op == 3 else 1)
        channels = d.in_channels
        if d.op == 0:
            channels = (d.passes - 1) * CONFIG.engine.columns + d.last_columns
        counts = [d.weight_count, 0, 0, 0, taps, channels, 0 if d.op == 0 else taps]
        answers += [1 << 20, *(d.out_tiles * count for count in counts)]
    return [*answers, 2]


def layered_script():
    """Script that reads each of several layers back."""
    for seed in range(100):
        program, x = random_program(seed, CONFIG)
        if len(program.layers) > 2:
            return Script(program, x, Random(seed), layerwise=True)
    raise AssertionError("no such program")


def test_faultless_answers_pass():
    script = layered_script()
    answers = faultless_answers(script)
    assert len(answers) == script.answers
    assert script.check(answers) is None


def test_the_first_element_that_differs_is_named():
    script = layered_script()
    answers = faultless_answers(script)
    first = script.program.layers[0].output
    words = first.words * CONFIG.activation_item_words
    # Its last channel's first pixel, and something in a later layer.
    answers[words - first.pitch * CONFIG.activation_item_words] ^= 0x80
    answers[words] ^= 1
    mismatch = script.check(answers)
    assert mismatch.layer == script.program.layers[0].name
    place = (mismatch.image, mismatch.channel, mismatch.row, mismatch.column)
    assert place == (0, first.shape[0] - 1, 0, 0)
    assert (mismatch.differing, abs(mismatch.expected - mismatch.actual)) == (1, 128)


@pytest.mark.parametrize(("place", "sentence"), [(-1, "Status"), (-3, "counts"), (-7, "busier")])
def test_wrong_counters_and_status_are_found(place, sentence):
    script = layered_script()
    answers = faultless_answers(script)
    # The end: stalled on load (-7), words written (-3), status (-1).
    answers[place] += 1 << 21
    with pytest.raises(AssertionError, match=sentence):
        script.check(answers)


def test_seeds_fix_every_case():
    for make in (random_array_case, random_program):
        assert str(make(5, CONFIG)) == str(make(5, CONFIG))
    first, again = (random_program(6, CONFIG) for _ in range(2))
    assert np.array_equal(first[0].weights, again[0].weights)
    assert np.array_equal(first[1], again[1])
