"""Self-test of an accelerator: who it is, whether its memories hold words, whether it computes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..compile import compile as compile_program
from ..contract import AcceleratorConfig
from ..contract.descriptor import DESCRIPTOR_WORDS
from ..contract.registers import Space
from ..errors import UserError
from ..network.random import KINDS, random_input, random_network
from ..program import Program
from ..progress import Progress
from .check import check
from .device import Device
from .errors import MemoryFault
from .external import find_read_latency
from .port import HostPort

__all__ = ["SelfTest", "Step", "run_selftest"]

QUICK_BLOCK = 16
"""Items at both ends of a memory that the quick test takes beside the powers of two."""
NETWORK_SIZES = ((32, 150), (12, 60), (6, 30))
"""Most channels and pixels of the built-in network; the first that fits is taken."""
NETWORK_KINDS = (KINDS, ("conv", "fc", "max_pool", "avg_pool"), ("conv", "fc", "max_pool"))
"""Kinds of layers, most first: small configurations cannot do all."""
NETWORK_SEEDS = range(7, 12)
NETWORK_BATCH = 2
PART_STEPS = 100
"""Steps of progress that every memory and the network count as."""


@dataclass(kw_only=True)
class Step:
    """One part of a self-test.

    Members
    -------
    name : what was tested
    tested : how much of it, in words
    seconds : time that it took
    fault : what is wrong, in words; empty if nothing is
    """

    name: str
    tested: str = ""
    seconds: float = 0.0
    fault: str = ""


@dataclass(kw_only=True)
class SelfTest:
    """What a self-test has tested.

    Members
    -------
    config : configuration of the accelerator, whose hash was compared
    steps : its parts in order
    """

    config: AcceleratorConfig
    steps: list[Step] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not any(step.fault for step in self.steps)

    @property
    def seconds(self) -> float:
        """Time that all took."""
        return sum(step.seconds for step in self.steps)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Part of the test that the block fills in, timed."""
        made = Step(name=name)
        start = time.monotonic()
        yield made
        made.seconds = time.monotonic() - start
        self.steps.append(made)


def run_selftest(
    device: Device,
    port: HostPort,
    config: AcceleratorConfig,
    *,
    quick: bool = False,
    progress: Progress | None = None,
) -> SelfTest:
    """Test memories and computation of an accelerator whose configuration is certain.

    Parameters
    ----------
    device : the accelerator, for the built-in network
    port : its host port
    quick : whether to test the memories in some places only
    progress : called with steps done, steps in all, and the memory or ``network`` being tested
    """
    result = SelfTest(config=config)
    memories = _memories(config)
    total = (len(memories) + 1) * PART_STEPS
    for number, (space, items, bits) in enumerate(memories):

        def report(share: float, number: int = number, space: Space = space) -> None:
            if progress is not None:
                progress(number * PART_STEPS + int(PART_STEPS * share), total, space.name.lower())

        with result.step(space.name.lower()) as step:
            latency = ""
            if space == Space.EXTERNAL:
                try:
                    latency = f", {find_read_latency(port, items, all_of_them=True)}"
                except MemoryFault as error:
                    step.fault = str(error)
                    continue
            tested, step.fault = _test_memory(port, space, items, bits, quick, report)
            step.tested = f"{tested:,} of {items * len(bits):,} words, 2 patterns{latency}"
    if progress is not None:
        progress(len(memories) * PART_STEPS, total, "network")
    with result.step("network") as step:
        try:
            step.tested, step.fault = _test_network(device, config)
        except MemoryFault as error:
            step.fault = str(error)
    return result


def _memories(config: AcceleratorConfig) -> list[tuple[Space, int, list[int]]]:
    """Memories that can be written and read: items, and the bits of each word of an item."""
    weight_bits = config.engine.weight_item_bits
    weights = [min(32, weight_bits - 32 * word) for word in range(config.engine.weight_item_words)]
    external = [(Space.EXTERNAL, config.memory.external_words, [32])]
    return [
        (Space.DESCRIPTORS, config.memory.max_layers * DESCRIPTOR_WORDS, [32]),
        (Space.PARAMETERS, config.memory.parameter_words, [*config.parameter_bits]),
        (Space.WEIGHTS, config.memory.weight_words, weights),
        (Space.ACTIVATIONS, config.memory.activation_words, [32] * config.activation_item_words),
        *(external if config.memory.external_words else []),
    ]


def _test_memory(
    port: HostPort,
    space: Space,
    items: int,
    bits: list[int],
    quick: bool,
    report: Callable[[float], None],
) -> tuple[int, str]:
    """Write two patterns to a memory, the second the first one's complement, and read each back.

    Every word of a pattern differs from every other, so a wrong address shows like a wrong bit.

    Parameters
    ----------
    items : of the memory
    bits : that each word of an item has
    quick : whether to take the items at powers of two and at both ends only, which all address
        wires show in
    report : called with the share of this memory that is done, 0 to 1

    Returns
    -------
    number of words tested, and what is wrong or nothing
    """
    ranges = _ranges(items, quick)
    masks = np.array([(1 << width) - 1 for width in bits], np.uint32)
    total = sum(last - first for first, last in ranges) * len(bits)
    done = 0
    for invert in (np.uint32(0), np.uint32(0xFFFFFFFF)):
        for first, last in ranges:
            port.write(space, first, _pattern(first, last, len(bits)) ^ invert)
        for first, last in ranges:
            expected = (_pattern(first, last, len(bits)) ^ invert) & masks
            words = port.read(space, first, expected.size).reshape(expected.shape) & masks
            different = np.argwhere(words != expected)
            if len(different):
                item, word = (int(place) for place in different[0])
                return total, (
                    f"item {first + item} gives {int(words[item, word]):#010x} in word {word} "
                    f"where {int(expected[item, word]):#010x} was written"
                )
            done += expected.size
            report(done / (2 * total))
    return total, ""


def _ranges(items: int, quick: bool) -> list[tuple[int, int]]:
    """Ranges of items to test."""
    if not quick or items <= 4 * QUICK_BLOCK:
        return [(0, items)]
    middle = (1 << bit for bit in range(QUICK_BLOCK.bit_length() - 1, items.bit_length()))
    singles = [(place, place + 1) for place in middle if place < items - QUICK_BLOCK]
    return [(0, QUICK_BLOCK), *singles, (items - QUICK_BLOCK, items)]


def _pattern(first: int, last: int, words: int) -> NDArray[np.uint32]:
    """Words of items, uint32 (items, words), all different and with as many ones as zeros."""
    number = np.arange(first * words, last * words, dtype=np.uint32)
    # Odd multipliers and shifted sums lose nothing: different numbers stay different.
    number = (number ^ number >> np.uint32(16)) * np.uint32(0x7FEB352D)
    number = (number ^ number >> np.uint32(15)) * np.uint32(0x846CA68B)
    return (number ^ number >> np.uint32(16)).reshape(-1, words)


def _test_network(device: Device, config: AcceleratorConfig) -> tuple[str, str]:
    """Run a small built-in network and compare it with the golden model.

    It has as many kinds of layers as the configuration can do.

    Returns
    -------
    what was compared, and what is wrong or nothing
    """
    program = _network_program(config)
    if program is None:
        return "nothing: the memories are too small for the built-in network", ""
    x = random_input(program.network, 3 * NETWORK_BATCH, 7)
    device.load(program, verify=True)
    kinds = sorted({entry.kind for entry in program.layers})
    tested = f"{len(x)} images, {len(program.layers)} layers: {', '.join(kinds)}"
    if np.array_equal(device.infer(x), program.golden(x)[program.network.output]):
        return tested, ""
    found = check(program, x, device)
    return tested, "the output differs" if found is None else str(found)


def _network_program(config: AcceleratorConfig) -> Program | None:
    """Largest built-in network that the configuration can compute, None if it can none."""
    for kinds, (channels, pixels), seed in product(NETWORK_KINDS, NETWORK_SIZES, NETWORK_SEEDS):
        network = random_network(
            seed,
            kinds=kinds,
            layers=7,
            max_channels=channels,
            max_pixels=pixels,
            max_kernel=config.load.padded_kernel,
            group=config.engine.group,
        )
        # Whatever the compiler refuses, another network may do.
        with suppress(UserError):
            return compile_program(network, config, batch=NETWORK_BATCH)
    return None
