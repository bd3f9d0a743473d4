"""Self-test of an emulated accelerator, healthy and not."""

import re

import numpy as np
import pytest

from emulated import CONFIG, Emulator, opened
from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import PRESETS
from steelyard.contract.registers import Space
from steelyard.driver import selftest as selftest_module
from steelyard.errors import UserError
from steelyard.network.random import KINDS, random_network
from steelyard.program import Program


@pytest.fixture(scope="module")
def program() -> Program:
    return compile(random_network(3, layers=5, max_channels=12), CONFIG, batch=3)


SMALL = CONFIG.with_(
    activation_words=64, weight_words=80, parameter_words=16, max_layers=2, partial_sum_channels=8
)
MEMORIES = ("descriptors", "parameters", "weights", "activations")


def test_selftest_tests_every_word_of_every_memory(program):
    emulator = Emulator(program, SMALL)
    told = []
    with opened(emulator) as device:
        result = device.selftest([SMALL], progress=lambda *step: told.append(step))
    assert result.passed
    assert [step.name for step in result.steps] == ["identity", *MEMORIES, "network"]
    sizes = [emulator.memory[Space[name.upper()]].size for name in MEMORIES]
    tested = [step.tested for step in result.steps[1:5]]
    assert tested == [f"{size} of {size} words, 2 patterns" for size in sizes]
    assert result.steps[-1].tested.startswith("nothing: the memories are too small")
    assert result.seconds > 0
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert {total for _, total, _ in told} == {500}
    assert told[-1] == (400, 500, "network")


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.parametrize("fault", ["stuck at 0", "stuck at 1", "wire"])
def test_selftest_names_the_word_of_a_faulty_memory(program, name, fault, quick):
    emulator = Emulator(program, SMALL)
    memory = emulator.memory[Space[name.upper()]]
    place = 0 if quick else 7 % len(memory)
    original = emulator.write

    def write(words, timeout):
        original(words, timeout)
        if fault == "stuck at 0":
            memory[place, 0] &= ~np.uint32(16)
        elif fault == "stuck at 1":
            memory[place, 0] |= np.uint32(16)
        else:
            memory[8] = memory[0]

    emulator.write = write
    with opened(emulator) as device:
        result = device.selftest([SMALL], quick=quick)
        with pytest.raises(UserError, match="has no program"):
            device.read_output()
    assert not result.passed
    faulty = [step for step in result.steps if step.fault]
    assert [step.name for step in faulty] == [name]
    item = 8 if fault == "wire" else place
    assert re.fullmatch(
        f"item {item} gives 0x[0-9a-f]{{8}} in word 0 where 0x[0-9a-f]{{8}} was written",
        faulty[0].fault,
    )


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, ()),
        ({**PRESETS["compact"]}, ("add",)),
        ({"additions": False}, ("add",)),
        ({"max_side": 15, "padded_kernel": 3, "activation_words": 256}, ()),
    ],
)
def test_the_built_in_network_has_all_layers_that_the_configuration_can_do(changes, missing):
    program = selftest_module._network_program(CONFIG.with_(**changes))
    kinds = {layer.kind for layer in program.network.layers}
    assert kinds == set(KINDS) - set(missing)


def test_selftest_of_an_unknown_configuration_asks_for_it(program):
    emulator = Emulator(program, SMALL)
    device = driver.ArrayDevice("emulated", lambda *_: emulator)
    with device, pytest.raises(driver.ConfigurationMismatch, match="give the configuration that"):
        device.selftest([CONFIG])


def test_selftest_needs_hardware():
    with driver.open("golden") as device, pytest.raises(UserError, match="no memories to test"):
        device.selftest()
