"""Known answers: what a program carries, and how a device that is wrong is found by it."""

import hashlib

import numpy as np
import pytest

from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.errors import FileRefused
from steelyard.network import golden
from steelyard.network.random_shapes import random_shapes
from steelyard.program import FORMAT_VERSION, Program, layer_hash
from steelyard.program.archive import read_sealed, write_sealed

CONFIG = configure("array", weight_words=8192, activation_words=8192, max_layers=128)


@pytest.fixture
def path(tmp_path):
    compile(random_shapes(1), CONFIG, batch=2).save(tmp_path / "net.syp")
    return tmp_path / "net.syp"


def test_the_file_has_an_image_and_what_every_layer_makes_of_it(path):
    program = Program.load(path)
    trace = golden.run(program.network, program.known.input, trace=True)
    hashes = [
        hashlib.sha256(trace[layer.output].tobytes()).hexdigest()
        for layer in program.network.layers
    ]
    assert list(program.known.layers) == hashes
    (output,) = program.known.outputs.values()
    assert np.array_equal(output, trace[program.network.output])
    assert np.ptp(output.astype(int)) > 0
    with driver.open("golden") as device:
        assert driver.check_known_answer(program, device) is None


def test_the_first_layer_that_differs_is_named(path):
    program = Program.load(path)
    place = next(
        n for n, layer in enumerate(program.network.layers) if layer.key == "conv" and n > 1
    )
    wrong = program.network.layers[place]
    wrong.bias[:] += 1 << 12

    # The device computes with the weights as they now are, the file's answer is of those before.
    with driver.open("golden") as device:
        assert driver.check_known_answer(program, device) == wrong.name


@pytest.mark.parametrize("change", ["hashes", "shape", "type"])
def test_an_answer_of_another_network_is_refused(path, change):
    manifest, arrays = read_sealed(path, "steelyard-program", FORMAT_VERSION)
    if change == "hashes":
        manifest["known"] = manifest["known"][1:]
    elif change == "shape":
        arrays["known/input"] = arrays["known/input"][:, :, :1]
    else:
        arrays["known/output0"] = arrays["known/output0"].astype(np.int16)
    write_sealed(path, manifest, arrays)
    with pytest.raises(FileRefused, match="known"):
        Program.load(path)


def test_the_hash_is_of_the_codes_alone():
    x = np.arange(24, dtype=np.int8).reshape(1, 2, 3, 4)
    assert layer_hash(x.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1)) == layer_hash(x)
